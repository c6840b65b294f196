import type { ReplyOf } from "../../../src/api/client-messages.ts";
import type { PeerId, VpcId } from "../../../src/base/index.ts";
import type { SimulatedHost } from "../host.ts";
import type { Ask } from "../user.ts";
import type { Stage } from "./scenario.ts";

const MIB = 1024 ** 2;

export function createVpc(stage: Stage, name: string, cidr: string, at: readonly SimulatedHost[] = [stage.host(0)], token?: string): Promise<Ask> {
  const endpoints = at.map(({ endpoint }) => endpoint);
  return stage.user.ask(endpoints, "CreateVpc", { name, cidr }, token);
}

export async function makeVpc(stage: Stage, name: string, cidr: string, at: readonly SimulatedHost[] = [stage.host(0)], token?: string): Promise<VpcId> {
  const ask = await createVpc(stage, name, cidr, at, token);
  const { id } = (ask.reply ?? { id: "" }) as ReplyOf<"CreateVpc">;
  if (ask.outcome !== "done") throw new Error(`VPC ${name} was not made: ${ask.outcome} ${ask.message}`);
  stage.world.history.name(id, name);
  return id as VpcId;
}

export const small = (vpc: VpcId, more: object = {}): object => ({ vpc, memoryBytes: 16 * MIB, diskBytes: 16 * MIB, ...more });

/** Its machine is switched off for good first; of what it had, `heir` gets the blocks. */
export async function removeHost(stage: Stage, host: SimulatedHost, at: SimulatedHost, heir: PeerId): Promise<void> {
  const over = stage.world.disturb();
  host.cutPower();
  host.retired = true;
  const listed = await stage.world.admin.ask([at.endpoint], "ListHosts", {});
  const found = listed.reply?.hosts.find(({ id }) => id === host.peer);
  stage.expectDone(
    await stage.world.admin.ask([at.endpoint], "RemoveHost", {
      host: host.peer,
      force: true,
      countsToMajor: Math.max(1, found?.lastMajor ?? 1),
      countsToMinor: Math.max(1, found?.lastMinor ?? 1),
      allCertificates: true,
      heir,
    }),
  );
  over();
}
