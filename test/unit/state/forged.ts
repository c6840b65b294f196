import { create, toBinary } from "@bufbuild/protobuf";
import { type RecordFrame, RecordFrameSchema, type RecordPayload, RecordPayloadSchema } from "../../../src/api/gen/cc/v1/records_pb.ts";
import type { PeerId } from "../../../src/base/index.ts";
import { keyPair, peerId, ZONE } from "./fixtures.ts";

/** What a liar's own program makes: rightly signed by `liar`, but about another host. */
export function forgedForeign(liar: string, victim: PeerId, signer = liar): RecordFrame {
  const fields = { key: `host/${victim}/${ZONE}/phase/c1`, versionMajor: 99n, versionMinor: 1n, writer: peerId(liar), content: Buffer.from("ended") };
  return signed(create(RecordPayloadSchema, fields), signer);
}

/** A removal that `liar` was handed, stamped whenever it likes. */
export function forgedStamp(liar: string, key: string, content: Uint8Array, major: number): RecordFrame {
  return signed(create(RecordPayloadSchema, { key, versionMajor: BigInt(major), final: true, writer: peerId(liar), content }), liar);
}

function signed(fields: RecordPayload, signer: string): RecordFrame {
  const payload = toBinary(RecordPayloadSchema, fields);
  return create(RecordFrameSchema, { frame: 1, payload, signature: keyPair(signer).signer.sign(Buffer.concat([Buffer.from("cc-record-1\n"), payload])) });
}
