/** Put in place by build.ts: what oclif knows of the commands without loading them. */
declare module "cc:manifest" {
  type CachedFlag = {
    readonly type: "boolean" | "option";
    readonly char?: string;
    readonly options?: readonly string[];
    readonly multiple?: boolean;
    readonly helpGroup?: string;
  };
  type CachedArg = { readonly options?: readonly string[] };
  type CachedCommand = { readonly id: string; readonly flags: { readonly [name: string]: CachedFlag }; readonly args: { readonly [name: string]: CachedArg } };
  const manifest: { readonly version: string; readonly commands: { readonly [id: string]: CachedCommand } };
  export default manifest;
}
