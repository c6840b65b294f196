import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { promisify } from "node:util";

/** Children of a process that run Perl with a program that has this word. */
export async function perlsOf(pid: number, word: string): Promise<readonly number[]> {
  const children = (await readFile(`/proc/${pid}/task/${pid}/children`, "utf8"))
    .trim()
    .split(" ")
    .filter((child) => child !== "");
  const found: number[] = [];
  for (const child of children) {
    const line = await readFile(`/proc/${child}/cmdline`, "utf8").catch(() => ""); // It has ended since.
    if (line.startsWith("perl\0") && line.includes(word)) found.push(Number(child));
  }
  return found;
}

export async function mkfifo(path: string): Promise<void> {
  await promisify(execFile)("mkfifo", [path]);
}
