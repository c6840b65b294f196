import { create, toBinary } from "@bufbuild/protobuf";
import { type RecordFrame, RecordFrameSchema, RecordPayloadSchema } from "../../../src/api/gen/cc/v1/records_pb.ts";
import type { PeerId } from "../../../src/base/index.ts";
import { keyPair, peerId, ZONE } from "./fixtures.ts";

/** What a liar's own program makes: rightly signed by `liar`, but about another host. */
export function forgedForeign(liar: string, victim: PeerId, signer = liar): RecordFrame {
  const payload = toBinary(
    RecordPayloadSchema,
    create(RecordPayloadSchema, {
      key: `host/${victim}/${ZONE}/phase/c1`,
      versionMajor: 99n,
      versionMinor: 1n,
      writer: peerId(liar),
      content: Buffer.from("ended"),
    }),
  );
  return create(RecordFrameSchema, { frame: 1, payload, signature: keyPair(signer).signer.sign(Buffer.concat([Buffer.from("cc-record-1\n"), payload])) });
}
