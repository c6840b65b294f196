/**
 * An OpenSSH server for the bench, unpacked from Debian's package instead of being installed: no service, no user, no key of
 * the machine's own. It runs on a host of the lab, in a mount namespace of its own where /run is empty and /etc/passwd knows
 * the user that it drops to.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, globSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import type { BenchLab } from "./bench-lab.ts";
import type { Cleanup } from "./cleanup.ts";
import { outputOf } from "./timed-run.ts";

const SSHD_PORT = 2_200;
const READY_MS = 20_000;

export class Ssh {
  readonly #folder: string;
  readonly #lab: BenchLab;
  readonly #signal: AbortSignal;
  readonly #children: ChildProcess[] = [];

  constructor(lab: BenchLab, signal: AbortSignal) {
    this.#folder = join(lab.layout.folder, "ssh");
    this.#lab = lab;
    this.#signal = signal;
  }

  /** `ssh -L`: from `port` of this machine to `target` as a host of the lab sees it. */
  async forward(host: number, address: string, port: number, target: string, cleanup: Cleanup): Promise<void> {
    cleanup.add("ssh", async () => {
      for (const child of this.#children) child.kill("SIGKILL");
    });
    await this.#unpack();
    const { script, client } = await this.#configure();
    this.#children.push(this.#lab.startOn(host, "setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private", "sh", script));
    await answers(address, SSHD_PORT, this.#signal);
    const known = ["-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"];
    const words = [...known, "-i", join(this.#folder, "id"), "-p", String(SSHD_PORT), "-N", "-L", `127.0.0.1:${port}:${target}`, `root@${address}`];
    this.#children.push(spawn("setpriv", ["--pdeathsig", "KILL", client, ...words], { stdio: ["ignore", "inherit", "inherit"], env: this.#environment() }));
    await answers("127.0.0.1", port, this.#signal);
  }

  async #unpack(): Promise<void> {
    mkdirSync(this.#folder, { recursive: true });
    if (existsSync(join(this.#folder, "usr/sbin/sshd"))) return;
    const script = `cd "$1" && apt-get -q download openssh-server openssh-client libwrap0 >/dev/null && for file in *.deb; do dpkg-deb --extract "$file" .; done`;
    await outputOf(["sh", "-ec", script, "sh", this.#folder], this.#signal);
  }

  async #configure(): Promise<{ readonly script: string; readonly client: string }> {
    const file = (name: string): string => join(this.#folder, name);
    const client = existsSync("/usr/bin/ssh") ? "/usr/bin/ssh" : file("usr/bin/ssh");
    const keygen = existsSync("/usr/bin/ssh-keygen") ? "/usr/bin/ssh-keygen" : file("usr/bin/ssh-keygen");
    for (const name of ["hostkey", "id"])
      if (!existsSync(file(name))) await outputOf([keygen, "-q", "-t", "ed25519", "-N", "", "-f", file(name)], this.#signal, this.#environment());
    const passwd = readFileSync("/etc/passwd", "utf8");
    writeFileSync(file("passwd"), /^sshd:/m.test(passwd) ? passwd : `${passwd}sshd:x:65534:65534::/run/sshd:/usr/sbin/nologin\n`);
    const settings = [
      `Port ${SSHD_PORT}`,
      `HostKey ${file("hostkey")}`,
      `AuthorizedKeysFile ${file("id.pub")}`,
      "StrictModes no",
      "UsePAM no",
      "PermitRootLogin yes",
      "PidFile none",
      "MaxStartups 100",
    ];
    writeFileSync(file("config"), `${settings.join("\n")}\n`);
    writeFileSync(
      file("start"),
      `set -e
mount -t tmpfs tmpfs /run
mkdir /run/sshd
mount --bind '${file("passwd")}' /etc/passwd
export LD_LIBRARY_PATH='${this.#environment()["LD_LIBRARY_PATH"]}'
exec '${file("usr/sbin/sshd")}' -D -e -f '${file("config")}'
`,
    );
    return { script: file("start"), client };
  }

  #environment(): Record<string, string> {
    const libraries = globSync(join(this.#folder, "{usr/lib,lib}/*-linux-gnu"));
    return { PATH: process.env["PATH"] ?? "", HOME: this.#folder, LD_LIBRARY_PATH: libraries.join(":") };
  }
}

/** Waits until something takes connections there. */
export async function answers(host: string, port: number, signal: AbortSignal): Promise<void> {
  for (let waitedMs = 0; waitedMs < READY_MS; waitedMs += 100) {
    const taken = await new Promise<boolean>((resolve) => {
      const socket = connect({ host, port }, () => {
        socket.destroy();
        resolve(true);
      });
      socket.once("error", () => resolve(false));
    });
    if (taken) return;
    await pause(100, undefined, { signal });
  }
  throw new Error(`nothing answers at ${host}:${port}`);
}
