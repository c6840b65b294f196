import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { type Endpoint, parseEndpoints } from "../src/api/client-connection.ts";
import { CcError } from "../src/base/index.ts";
import { type Credentials, readCredentials } from "./drivers/identity.ts";
import { UsageError, usable } from "./failure.ts";
import type { Environment } from "./options.ts";

/** The three settings that reach a mesh, as text: flag before environment before what `cc login` saved. */
export type SettingTexts = { readonly endpointUrl: string; readonly accessToken: string; readonly secretKey: string };
export type SettingFlags = {
  readonly "cc-endpoint-url"?: string | undefined;
  readonly "cc-access-token"?: string | undefined;
  readonly "cc-secret-key"?: string | undefined;
};
export type Settings = { readonly endpoints: readonly Endpoint[]; readonly credentials: Credentials };

const SETTING_FILE_BYTES_MAX = 64 * 1024;
const CONTEXT_VERSION = 1;

function configFolder(environment: Environment): string {
  return join(environment["XDG_CONFIG_HOME"] || join(environment["HOME"] || homedir(), ".config"), "container-cloud");
}

export function stateFolder(environment: Environment): string {
  return join(environment["XDG_STATE_HOME"] || join(environment["HOME"] || homedir(), ".local", "state"), "container-cloud");
}

export const contextFile = (environment: Environment): string => join(configFolder(environment), "context.json");

const isMissing = (error: unknown): boolean => error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ENOTDIR");

/** A setting as it is used: `@FILE` stands for what is in the file, without the white space around it. */
export function resolveSetting(text: string, what: string): string {
  if (!text.startsWith("@")) return text.trim();
  let content: string;
  try {
    content = readFileSync(text.slice(1), "utf8");
  } catch (error) {
    throw new UsageError(
      `${what} is to be read from ${text.slice(1)}, which cannot be read (${error instanceof Error && "code" in error ? String(error.code) : "unknown"})`,
    );
  }
  if (content.length > SETTING_FILE_BYTES_MAX) throw new UsageError(`${what} is to be read from ${text.slice(1)}, which is too long for it`);
  return content.trim();
}

/** What `cc login` saved, or nothing. */
function readContext(environment: Environment): Partial<SettingTexts> {
  const file = contextFile(environment);
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    if (isMissing(error)) return {};
    throw new CcError("BAD_REQUEST", `the saved login in ${file} cannot be read; make it readable for you, or run cc login again`, { cause: error });
  }
  try {
    const saved: unknown = JSON.parse(text);
    if (typeof saved === "object" && saved !== null && "version" in saved && saved.version === CONTEXT_VERSION) {
      const field = (name: keyof SettingTexts): Partial<SettingTexts> => {
        const value: unknown = Object.entries(saved).find(([key]) => key === name)?.[1];
        return typeof value === "string" ? { [name]: value } : {};
      };
      return { ...field("endpointUrl"), ...field("accessToken"), ...field("secretKey") };
    }
  } catch {
    // Not JSON: said below, with what to do.
  }
  throw new CcError("BAD_REQUEST", `the saved login in ${file} is not one that this version understands; run cc login again`);
}

export function contextText(settings: SettingTexts): string {
  return `${JSON.stringify({ version: CONTEXT_VERSION, ...settings }, undefined, 2)}\n`;
}

/** The settings that are there; the saved file is only read where flags and environment leave something open. */
export function gatherSettings(flags: SettingFlags, environment: Environment): SettingTexts {
  const given = {
    endpointUrl: flags["cc-endpoint-url"] || environment["CC_ENDPOINT_URL"],
    accessToken: flags["cc-access-token"] || environment["CC_ACCESS_TOKEN"],
    secretKey: flags["cc-secret-key"] || environment["CC_SECRET_KEY"],
  };
  const saved = given.endpointUrl && given.accessToken && given.secretKey ? {} : readContext(environment);
  return {
    endpointUrl: resolveSetting(given.endpointUrl || saved.endpointUrl || "", "the endpoint"),
    accessToken: resolveSetting(given.accessToken || saved.accessToken || "", "the access token"),
    secretKey: resolveSetting(given.secretKey || saved.secretKey || "", "the secret key"),
  };
}

export function parseSettings(texts: SettingTexts): Settings {
  const missing = [
    texts.endpointUrl === "" ? "CC_ENDPOINT_URL" : "",
    texts.accessToken === "" ? "CC_ACCESS_TOKEN" : "",
    texts.secretKey === "" ? "CC_SECRET_KEY" : "",
  ].filter((name) => name !== "");
  if (missing.length > 0)
    throw new UsageError(
      `${missing.join(", ")} ${missing.length === 1 ? "is" : "are"} not set; set ${missing.length === 1 ? "it" : "them"}, give the flags of the same names, or run cc login once`,
    );
  return { endpoints: usable(parseEndpoints(texts.endpointUrl)), credentials: usable(readCredentials(texts.accessToken, texts.secretKey)) };
}
