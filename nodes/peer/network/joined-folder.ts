import { readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type ContainerId, formatCidr, formatIp, isContainerId, isVpcId, type Logger, parseCidr, parseIp } from "../../../src/base/index.ts";
import type { JoinedVpc } from "../../../src/vpc/index.ts";

/**
 * Who has joined which VPC, a file a container, in the folder that goes with a reboot as their namespaces do: the peer that returns finds
 * there what runs here, whatever its records say.
 */
export class JoinedFolder {
  readonly #folder: string;
  readonly #log: Logger;

  constructor(folder: string, log: Logger) {
    this.#folder = folder;
    this.#log = log;
  }

  async load(): Promise<Map<ContainerId, JoinedVpc>> {
    const joined = new Map<ContainerId, JoinedVpc>();
    for (const name of await readdir(this.#folder)) {
      if (!isContainerId(name)) continue;
      const read = parseJoined(await readFile(join(this.#folder, name), "utf8"));
      if (read === undefined) this.#log.error({ container: name }, "what this container has joined cannot be read; its network is taken down");
      else joined.set(name, read);
    }
    return joined;
  }

  async put(id: ContainerId, { vpc, name, cidr, vni, address }: JoinedVpc): Promise<void> {
    const text = JSON.stringify({ version: 1, vpc, name, cidr: formatCidr(cidr), vni, address: formatIp(address) });
    // Whole or not at all, also when the peer is killed in between; a power cut takes the folder with it.
    await writeFile(join(this.#folder, `.${id}`), text);
    await rename(join(this.#folder, `.${id}`), join(this.#folder, id));
  }

  async remove(id: ContainerId): Promise<void> {
    await rm(join(this.#folder, id), { force: true });
  }
}

function parseJoined(text: string): JoinedVpc | undefined {
  try {
    const { version, vpc, name, cidr, vni, address }: Readonly<Record<string, unknown>> = JSON.parse(text);
    const [network, ip] = [parseCidr(String(cidr)), parseIp(String(address))];
    if (version !== 1 || typeof vpc !== "string" || !isVpcId(vpc) || typeof name !== "string" || typeof vni !== "number") return undefined;
    return network.ok && ip !== undefined ? { vpc, name, cidr: network.value, vni, address: ip } : undefined;
  } catch {
    return undefined; // No such JSON.
  }
}
