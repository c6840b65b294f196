import type { World } from "../world.ts";
import { liveHosts } from "./reach.ts";

/** Claims that count, and processes that run, against what a host has. */
export function checkRoom(world: World): void {
  for (const host of world.hosts) {
    const memoryBytes = host.machine.running().reduce((sum, run) => sum + run.memoryBytes, 0);
    if (memoryBytes > host.capacity.memoryBytes && host.disk.losses === 0)
      world.violate("room", `the processes of ${host.name} have ${memoryBytes} of ${host.capacity.memoryBytes} bytes of memory`);
  }
  for (const host of liveHosts(world)) {
    if (!host.isReady || host.disk.losses > 0) continue;
    const claims = host.life.core.view.claimsOf(host.peer).filter(({ phase }) => phase?.phase !== "gone" && phase?.phase !== "yielded");
    const sum = (of: "memoryBytes" | "diskBytes"): number => claims.reduce((all, { create }) => all + (create.run.spec?.[of] ?? 0), 0);
    const { view } = host.life.core;
    const users = new Set(claims.flatMap(({ create }) => (create.run.spec?.volumes ?? []).map(({ volume }) => volume)));
    const counted = view.volumes().filter(({ id, gone, holder, state }) => !gone && (users.has(id) || (holder === host.peer && state === "mounted")));
    const volumeBytes = counted.reduce((all, { sizeBytes }) => all + sizeBytes, 0);
    const { memoryBytes, diskBytes, containersMax } = host.capacity;
    if (sum("memoryBytes") > memoryBytes || sum("diskBytes") + volumeBytes > diskBytes || claims.length > containersMax) {
      world.violate(
        "room",
        `${host.name} has claims on ${claims.length} places, ${sum("memoryBytes")} bytes of memory and ${sum("diskBytes")} of disk, with ${volumeBytes} for volumes`,
      );
    }
  }
}
