import { posix } from "node:path";
import t from "tap";
import { importProblem } from "../../../scripts/checks/import-rules.ts";
import { readImports } from "../../../scripts/checks/read-imports.ts";

/** Problems of the imports in a text that would stand at `path`. */
function check(path: string, text: string): string[] {
  const problems = readImports(path, text).map((one) => {
    const target = one.specifier.startsWith(".") ? posix.join(posix.dirname(path), one.specifier) : undefined;
    return importProblem(path, one, target);
  });
  return problems.filter((problem) => problem !== undefined);
}

t.test("imports are read, whatever their form", async (t) => {
  const text = [
    'import x from "a";',
    'import * as y from "b";',
    'import { type T, v as w } from "c";',
    'import type { U } from "d";',
    'export * from "./e.ts";',
    'const f = await import("g");',
    'import "h"; // import "i"',
    'import { type V } from "j";',
  ].join("\n");
  t.same(
    readImports("a.ts", text).map((one) => [one.specifier, one.names.join(), one.typeOnly, one.line]),
    [
      ["a", "", false, 1],
      ["b", "", false, 2],
      ["c", "v", false, 3],
      ["d", "", true, 4],
      ["./e.ts", "", false, 5],
      ["g", "", false, 6],
      ["h", "", false, 7],
      ["j", "", true, 8],
    ],
  );
});

t.test("what the design allows", async (t) => {
  const allowed: readonly (readonly [string, string])[] = [
    ["src/state/merge.ts", 'import { ok } from "../base/index.ts";'],
    ["src/state/merge.ts", 'import { x } from "../identity/index.ts";'],
    ["src/state/merge.ts", 'import { x } from "./version.ts";'],
    ["src/state/merge.ts", 'import { x } from "../api/gen/cc/v1/records_pb.ts";'],
    ["src/state/merge.ts", 'import { hash } from "node:crypto";'],
    ["src/state/merge.ts", 'import type { Socket } from "node:net";'],
    ["src/identity/x509.ts", 'import { isIP } from "node:net";'],
    ["src/state/drivers/level-store.ts", 'import { Level } from "level";'],
    ["src/state/drivers/level-store.ts", 'import { errorCode } from "../../host/index.ts";'],
    ["src/mesh/drivers/node.ts", 'import { createLibp2p } from "libp2p";'],
    ["src/containers/drivers/crun.ts", 'import { spawn } from "node:child_process";'],
    ["src/state/index.ts", 'export * from "./drivers/level-store.ts";'],
    ["nodes/peer/compose.ts", 'import { x } from "../../src/state/drivers/level-store.ts";'],
    ["nodes/peer/joining.ts", 'import { x } from "../../src/api/client-http.ts";'],
    ["nodes/simulated/host.ts", 'import { x } from "../peer/core/core.ts";'],
    ["cli/main.ts", 'import { Flags } from "@oclif/core/flags";'],
    ["cli/main.ts", 'import { x } from "../src/api/client-http.ts";'],
    ["test/unit/state/merge.test.ts", 'import { x } from "../../../src/state/drivers/level-store.ts";'],
  ];
  for (const [path, text] of allowed) t.same(check(path, text), [], `${path}: ${text}`);
});

t.test("what it refuses", async (t) => {
  const refused: readonly (readonly [string, string, RegExp])[] = [
    ["src/base/ids.ts", 'import { x } from "../host/index.ts";', /base imports nothing/],
    ["src/host/clock.ts", 'import { x } from "../identity/index.ts";', /host imports base only/],
    ["src/state/merge.ts", 'import { ok } from "../base/result.ts";', /by their index/],
    ["src/state/merge.ts", 'import { x } from "../placement/index.ts";', /state comes before placement/],
    ["src/placement/bid.ts", 'import { x } from "../state/merge.ts";', /by their index/],
    ["src/placement/bid.ts", 'import { x } from "../state/drivers/level-store.ts";', /by their index/],
    ["src/state/replica.ts", 'import { x } from "./drivers/level-store.ts";', /only drivers and nodes/],
    ["src/state/merge.ts", 'import { systemClock } from "../host/index.ts";', /only drivers import src\/host/],
    ["src/state/merge.ts", 'import { readFile } from "node:fs/promises";', /has effects/],
    ["src/state/merge.ts", 'import { isIP, connect } from "node:net";', /has effects/],
    ["src/state/merge.ts", 'import { Level } from "level";', /src\/state\/drivers/],
    ["src/placement/drivers/x.ts", 'import { Level } from "level";', /src\/state\/drivers/],
    ["src/mesh/gossip.ts", 'import { x } from "@libp2p/gossipsub";', /src\/mesh\/drivers/],
    ["nodes/peer/compose.ts", 'import { x } from "@oclif/core";', /belongs in cli/],
    ["src/state/merge.ts", 'import { x } from "left-pad";', /not among the packages/],
    ["src/cellar/wine.ts", 'import { x } from "../state/index.ts";', /no domain/],
    ["src/api/index.ts", 'import { x } from "../../nodes/peer/main.ts";', /nobody imports nodes/],
    ["nodes/lab/main.ts", 'import { x } from "../peer/main.ts";', /nobody imports nodes/],
    ["nodes/peer/main.ts", 'import { x } from "../../src/state/merge.ts";', /index or its drivers/],
    ["cli/main.ts", 'import { x } from "../src/state/index.ts";', /not state/],
    ["cli/main.ts", 'const x = await import("../src/identity/drivers/tls.ts");', /drivers of api and tunnel only/],
    ["scripts/checks/a.ts", 'import { x } from "../../test/unit/b.ts";', /nobody imports test/],
  ];
  for (const [path, text, reason] of refused) {
    const problems = check(path, text);
    t.equal(problems.length, 1, `${path}: ${text}`);
    t.match(problems[0] ?? "", reason);
  }
});
