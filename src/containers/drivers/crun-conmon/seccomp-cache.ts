import { createHash } from "node:crypto";
import { readFile, rename, writeFile } from "node:fs/promises";
import { errorCode } from "../../../host/index.ts";
import type { SeccompSource } from "../../bundle.ts";
import type { Seccomp } from "../../seccomp.ts";

/**
 * The filter as crun compiled it at the first start: handed back to crun by an annotation it is the same filter, 4 ms
 * sooner. Kept in the run folder, so a reboot (another kernel, another libseccomp) compiles anew.
 */
export class SeccompCache {
  readonly #path: string;
  readonly #rules: Seccomp;
  readonly #key: string;
  #bpfBase64: string | undefined;
  #distrusted = false;

  private constructor(path: string, rules: Seccomp, key: string, bpfBase64: string | undefined) {
    this.#path = path;
    this.#rules = rules;
    this.#key = key;
    this.#bpfBase64 = bpfBase64;
  }

  static async open(path: string, rules: Seccomp): Promise<SeccompCache> {
    const key = createHash("sha256").update(JSON.stringify(rules)).digest("hex");
    const [foundKey, bpf] = (await readFile(path, "latin1").catch(absent))?.split("\n") ?? [];
    return new SeccompCache(path, rules, key, foundKey === key && bpf !== undefined && bpf !== "" ? bpf : undefined);
  }

  get source(): SeccompSource {
    return this.#bpfBase64 === undefined ? { kind: "rules", rules: this.#rules } : { kind: "compiled", bpfBase64: this.#bpfBase64 };
  }

  /** Keeps what crun wrote for a container that was started from the rules. */
  async learn(compiledFile: string): Promise<void> {
    if (this.#bpfBase64 !== undefined || this.#distrusted) return;
    const bpf = await readFile(compiledFile).catch(absent);
    if (bpf === undefined || bpf.length === 0 || bpf.length % 8 !== 0) return;
    this.#bpfBase64 = bpf.toString("base64");
    await writeFile(`${this.#path}.new`, `${this.#key}\n${this.#bpfBase64}\n`);
    await rename(`${this.#path}.new`, this.#path);
  }

  /** A crun that does not know the annotation would start without a filter: back to the rules for good. */
  distrust(): void {
    this.#distrusted = true;
    this.#bpfBase64 = undefined;
  }
}

function absent(error: unknown): undefined {
  if (errorCode(error) === "ENOENT") return undefined;
  throw error;
}
