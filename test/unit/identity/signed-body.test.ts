import { create, type DescMessage, type MessageInitShape, toBinary, toJsonString } from "@bufbuild/protobuf";
import fc from "fast-check";
import t from "tap";
import { CreateInviteRequestSchema, CreateKeyRequestSchema, RemoveHostRequestSchema, RevokeKeyRequestSchema } from "../../../src/api/gen/cc/v1/cloud_pb.ts";
import { ADMIN_FIELDS, base64Url, parseAdminRequest, readAddressing, signRequest } from "../../../src/identity/index.ts";
import { type Field, readBody, SIGNED_BODY_BYTES_MAX } from "../../../src/identity/signed-body.ts";
import { CREATED_S, keyId, keyPair, MESH, PEER, peerId, value } from "./fixtures.ts";

const schemas: Readonly<Record<string, DescMessage>> = {
  CreateKey: CreateKeyRequestSchema,
  RevokeKey: RevokeKeyRequestSchema,
  CreateInvite: CreateInviteRequestSchema,
  RemoveHost: RemoveHostRequestSchema,
};
const framed = (message: Uint8Array): Uint8Array => {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
};
const sign = (body: Uint8Array) => signRequest({ body, keyId: keyId("root"), signer: keyPair("root").signer, createdS: CREATED_S, nonce: "abcdefghijklmnop" });

t.test("the fields read here are the contract's", async (t) => {
  t.same(Object.keys(ADMIN_FIELDS).sort(), Object.keys(schemas).sort());
  for (const [call, fields] of Object.entries(ADMIN_FIELDS)) {
    const schema = schemas[call];
    for (const field of fields) {
      const theirs = schema?.fields.find((candidate) => candidate.number === field.number);
      t.equal(theirs?.name, field.name, `${call}.${field.name}`);
      const kind =
        theirs?.fieldKind === "message"
          ? "message"
          : theirs?.fieldKind === "list"
            ? "string"
            : theirs?.fieldKind === "scalar"
              ? { 1: "double", 8: "bool", 9: "string", 13: "uint32" }[theirs.scalar as number]
              : undefined;
      t.equal(kind, field.kind, `${call}.${field.name}`);
      t.equal(theirs?.fieldKind === "list", field.repeated === true, `${call}.${field.name}`);
    }
    t.equal(schema?.fields.length, fields.length, `${call} has no field that is not read`);
  }
});

t.test("JSON, gRPC-framed and bare protobuf say the same", async (t) => {
  const to = (call: string) => ({ call, mesh: MESH, peer: PEER, seen: [{ key: "user/attic/container/c", versionMajor: 3, versionMinor: 4, host: PEER }] });
  const publicKey = base64Url(keyPair("ann").signer.publicKey);
  const forms = <S extends DescMessage>(schema: S, init: MessageInitShape<S>): Uint8Array[] => {
    const message = create(schema, init);
    const proto = toBinary(schema, message);
    return [Buffer.from(toJsonString(schema, message)), Buffer.from(toJsonString(schema, message, { useProtoFieldName: true })), proto, framed(proto)];
  };
  const cases = [
    forms(CreateKeyRequestSchema, { to: to("CreateKey"), token: "t", publicKey, role: "operator", name: "ann" }),
    forms(RevokeKeyRequestSchema, { to: to("RevokeKey"), token: "t", key: keyId("ann"), keep: ["admin/-/key/a", "admin/-/key/b"], keepAll: true }),
    forms(CreateInviteRequestSchema, { to: to("CreateInvite"), token: "t", zone: "attic", uses: 300, validForMs: 1.5e9, publicKey }),
    forms(RemoveHostRequestSchema, {
      to: to("RemoveHost"),
      token: "t",
      host: peerId("k"),
      force: true,
      countsToMajor: 7,
      countsToMinor: 2 ** 40,
      certificatesKept: [PEER],
      allCertificates: true,
      heir: PEER,
    }),
  ];
  for (const bodies of cases) {
    const [first, ...others] = bodies.map((body) => {
      const { request: _request, recordKey, ...fields } = value(parseAdminRequest(sign(body)));
      t.match(recordKey, /^admin\/-\/(key|revocation|invite|removal)\/[A-Za-z0-9]+-[a-z2-7]{20}$/);
      return fields;
    });
    for (const other of others) t.same(other, first);
  }
});

t.test("what different readers could read differently is refused", async (t) => {
  const proto = toBinary(CreateKeyRequestSchema, create(CreateKeyRequestSchema, { token: "a" }));
  t.notOk(readBody(Buffer.concat([proto, proto]), ADMIN_FIELDS["CreateKey"] ?? []).ok, "a field given twice");
  t.notOk(readBody(Buffer.from('{"publicKey":"a","public_key":"b"}'), ADMIN_FIELDS["CreateKey"] ?? []).ok, "both spellings");
  t.notOk(readBody(framed(proto).subarray(0, -1), ADMIN_FIELDS["CreateKey"] ?? []).ok, "a frame cut short");
  t.notOk(readBody(Buffer.from('{"token":5}'), ADMIN_FIELDS["CreateKey"] ?? []).ok, "another type");
  t.notOk(readBody(Buffer.from([0x12, 2, 0xff, 0xfe]), ADMIN_FIELDS["CreateKey"] ?? []).ok, "no UTF-8");
  t.match(readBody(Buffer.alloc(SIGNED_BODY_BYTES_MAX + 1), []), { ok: false, code: "TOO_LARGE" });
});

t.test("what a later version adds is skipped", async (t) => {
  t.equal(value(readBody(Buffer.from('{"token":"a","later":{"x":[1]}}'), ADMIN_FIELDS["CreateKey"] ?? [])).get("token"), "a");
  const later = Buffer.from([0x12, 1, 0x61, 0x98, 0x06, 0x05, 0xa2, 0x06, 1, 0, 0xa9, 0x06, 1, 2, 3, 4, 5, 6, 7, 8, 0xad, 0x06, 1, 2, 3, 4]);
  t.equal(value(readBody(later, ADMIN_FIELDS["CreateKey"] ?? [])).get("token"), "a");
});

t.test("fuzz: any bytes are read or refused, quickly", async (t) => {
  const list: Field = { number: 4, name: "keep", kind: "string", repeated: true };
  const long = Buffer.alloc(SIGNED_BODY_BYTES_MAX - 2, Buffer.from([0x22, 0]));
  const before = performance.now();
  t.ok(readBody(long, [list]).ok);
  t.ok(performance.now() - before < 5_000, "a body of half a million fields is read in linear time");
  t.notOk(readBody(Buffer.from(`{"to":${"[".repeat(200_000)}`), [list]).ok);
  fc.assert(
    fc.property(
      fc.oneof(
        fc.uint8Array(),
        fc.json().map((json) => Buffer.from(json)),
        fc.uint8Array().map((bytes) => Buffer.from([0x0a, bytes.length, ...bytes])),
      ),
      (bytes) => {
        readAddressing(bytes);
        parseAdminRequest({ body: bytes, signatureInput: sign(Buffer.from("{}")).signatureInput, signature: "" });
      },
    ),
    { numRuns: 500 },
  );
});
