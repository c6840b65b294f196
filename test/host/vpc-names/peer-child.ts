/** A peer that is killed: has a name server answer, says so, and waits for its end. Words: the program's file and its address. */
import { silentLogger } from "../../../src/base/index.ts";
import { systemClock, systemRandom } from "../../../src/host/index.ts";
import { createNameServer } from "../../../src/vpc/drivers/name-server.ts";
import { ip, tableOf } from "../../unit/vpc/dns-client.ts";

const [program = "", address = "", source = ""] = process.argv.slice(2);
const server = createNameServer({ address: ip(address), port: 53, program, clock: systemClock, random: systemRandom, log: silentLogger });
const table = tableOf("prod", { web: { address: "10.7.0.5" } }, { source });
server.set(table);
await server.answering(table.vpc, AbortSignal.timeout(60_000));
process.stdout.write("answers\n");
setInterval(() => undefined, 60_000);
