import t from "tap";
import { createAuthenticator } from "../../../nodes/peer/core/authenticate.ts";
import { silentLogger } from "../../../src/base/index.ts";
import { ed25519Verifier, KeptActs, requestHeaders } from "../../../src/identity/index.ts";
import { CREATED_S, MESH, MemoryJournal, peerId, request } from "../identity/fixtures.ts";
import { certificate, Desk, grants } from "../state/view-fixtures.ts";

t.test("once: what is played back while the first waits for a sure time does not come first", async (t) => {
  const desk = new Desk().take(certificate("peer 1"), grants("ann", "operator"));
  let sure = (): void => undefined;
  const untilSure = new Promise<void>((resolve) => {
    sure = resolve;
  });
  const authenticator = createAuthenticator({
    self: peerId("peer 1"),
    meshId: MESH,
    time: { nowMs: () => CREATED_S * 1_000, startedAtMs: () => 0, untilSure: () => untilSure },
    verifier: ed25519Verifier,
    acts: await KeptActs.open(new MemoryJournal(), silentLogger),
    authority: () => desk.view.authority(),
  });
  const signed = request("ListHosts", {}, { by: "ann" });
  const named = requestHeaders(signed);
  const headers = { contentDigest: named["content-digest"], signatureInput: named["signature-input"], signature: named.signature };
  const ask = () => authenticator.fromUser("ListHosts", headers, signed.body);
  const first = ask();
  await t.rejects(ask(), { code: "REPLAYED" });
  sure();
  t.equal((await first).role, "operator");
  await t.rejects(ask(), { code: "REPLAYED" });
});
