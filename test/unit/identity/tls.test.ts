import { X509Certificate } from "node:crypto";
import { chmod, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import tls from "node:tls";
import fc from "fast-check";
import t from "tap";
import { loadTlsIdentity } from "../../../src/identity/drivers/tls.ts";
import { CHAIN_URI_SCHEME, meshIdOf, verifyPeerCertificate } from "../../../src/identity/index.ts";
import { certificateOf, grant, keyPair, MESH, peerId, value } from "./fixtures.ts";

const certificate = certificateOf("peer 2", { by: "ann", chain: [grant("ann", "admin")] });
const random = { bytes: (length: number) => new Uint8Array(length).fill(0xff) };
const folder = await mkdtemp(join(tmpdir(), "cc-identity-"));
t.teardown(() => rm(folder, { recursive: true, force: true }));
const load = (keyFile: string, hostKey = keyPair("peer 2").signer) =>
  loadTlsIdentity({ keyFile, certificate, hostKey, names: ["host.example", "10.1.2.3", "fd00::1:2", "::ffff:10.1.2.3"], random });
const parts = (certificatePem: string) => {
  const x509 = new X509Certificate(certificatePem);
  return { san: x509.subjectAltName ?? "", spki: new Uint8Array(x509.publicKey.export({ type: "spki", format: "der" })) };
};

t.test("the certificate is one, for these names, and leads to the mesh", async (t) => {
  const identity = await load(join(folder, "a", "tls.key"));
  const x509 = new X509Certificate(identity.certificate);
  t.ok(x509.verify(x509.publicKey), "signed by itself");
  for (const ip of ["127.0.0.1", "::1", "10.1.2.3", "fd00::1:2", "::ffff:10.1.2.3"]) t.ok(x509.checkIP(ip), ip);
  for (const host of ["localhost", "host.example"]) t.ok(x509.checkHost(host), host);
  t.equal(x509.validTo, "Dec 31 23:59:59 9999 GMT");
  const { san, spki } = parts(identity.certificate);
  t.same(value(verifyPeerCertificate(san, spki, MESH)), { peerId: peerId("peer 2"), zone: "attic" });
});

t.test("the key is made once, for its owner's eyes only", async (t) => {
  const keyFile = join(folder, "b.key");
  const first = await load(keyFile);
  t.equal((await stat(keyFile)).mode & 0o777, 0o600);
  await chmod(keyFile, 0o644);
  t.equal((await load(keyFile)).key, first.key);
  t.equal((await stat(keyFile)).mode & 0o777, 0o600, "and closed again");
  t.equal(await readFile(keyFile, "utf8"), first.key);
  await writeFile(keyFile, "rubbish");
  await t.rejects(load(keyFile), { code: "INTERNAL", message: /remove it/ });
});

t.test("what a client is shown over TLS is enough to know the peer", async (t) => {
  const identity = await load(join(folder, "c.key"));
  const server = tls.createServer({ key: identity.key, cert: identity.certificate, minVersion: "TLSv1.3" }, (socket) => socket.end());
  t.teardown(() => server.close());
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (typeof address !== "object" || address === null) throw new Error("no address");
  const socket = tls.connect({ host: "127.0.0.1", port: address.port, ca: [], rejectUnauthorized: false });
  await new Promise<void>((resolve, reject) => socket.once("secureConnect", resolve).once("error", reject));
  const shown = socket.getPeerX509Certificate();
  socket.destroy();
  const spki = new Uint8Array(shown?.publicKey.export({ type: "spki", format: "der" }) ?? []);
  t.ok(verifyPeerCertificate(shown?.subjectAltName ?? "", spki, MESH).ok);
});

t.test("a stranger, another mesh, a copied chain and a host key that is not the certificate's are told apart", async (t) => {
  const { san, spki } = parts((await load(join(folder, "d.key"))).certificate);
  const other = parts((await load(join(folder, "e.key"))).certificate);
  t.match(verifyPeerCertificate("DNS:example.org", spki, MESH), { ok: false, code: "NOT_A_MEMBER", message: /not a peer of any mesh/ });
  t.match(verifyPeerCertificate(san, spki, meshIdOf(keyPair("eve").signer.publicKey)), { ok: false, code: "WRONG_MESH" });
  t.match(verifyPeerCertificate(san, other.spki, MESH), { ok: false, code: "NOT_A_MEMBER", message: /listening in/ });
  const forged = parts((await load(join(folder, "f.key"), keyPair("eve").signer)).certificate);
  t.match(verifyPeerCertificate(forged.san, forged.spki, MESH), { ok: false, code: "NOT_A_MEMBER" });
});

t.test("fuzz: no subjectAltName makes the check throw", async () => {
  const { spki } = parts((await load(join(folder, "g.key"))).certificate);
  const texts = fc.oneof(
    fc.string(),
    fc.base64String(),
    fc.json().map((json) => Buffer.from(json).toString("base64url")),
    fc.string().map((certificate) => Buffer.from(JSON.stringify({ certificate, tlsBinding: "" })).toString("base64url")),
  );
  fc.assert(fc.property(texts, (text) => !verifyPeerCertificate(`DNS:localhost, URI:${CHAIN_URI_SCHEME}${text}`, spki, MESH).ok));
});
