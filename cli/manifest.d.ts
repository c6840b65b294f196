/** Put in place by build.ts: what oclif knows of the commands without loading them. */
declare module "cc:manifest" {
  type CachedFlag = { readonly type: "boolean" | "option"; readonly char?: string };
  type CachedCommand = { readonly id: string; readonly flags: { readonly [name: string]: CachedFlag } };
  const manifest: { readonly version: string; readonly commands: { readonly [id: string]: CachedCommand } };
  export default manifest;
}
