import { create, toBinary } from "@bufbuild/protobuf";
import { BlockTransfersSchema, type SignedTransfer, SignedTransferSchema, TransferTermsSchema } from "../api/gen/cc/v1/records_pb.ts";
import { formatCidr, type PeerId, type VpcId, type Zone } from "../base/index.ts";
import type { Signer } from "../identity/index.ts";
import { type Draft, hostKey, transferBytes, type VpcView } from "../state/index.ts";
import type { Piece } from "./blocks.ts";

export type Writer = { readonly self: PeerId; readonly zone: Zone };

/** A block's next owner, signed: by the giver, or by the heir of a removed one (`inherited`). */
export function signTransfer(vpc: VpcId, piece: Piece, to: PeerId, inherited: boolean, signer: Pick<Signer, "sign">, nowMs: number): SignedTransfer {
  const terms = { vpc, block: formatCidr(piece.block), epoch: piece.epoch + 1, from: piece.owner, to, atMs: nowMs, inherited };
  const signed = toBinary(TransferTermsSchema, create(TransferTermsSchema, terms));
  return create(SignedTransferSchema, { signed, signature: signer.sign(transferBytes(signed)) });
}

/** This host's record of its blocks with these added; undefined where nothing would change. */
export function blocksRecord(
  writer: Writer,
  vpc: VpcView,
  added: { readonly given?: readonly SignedTransfer[]; readonly received?: readonly SignedTransfer[] },
): Draft | undefined {
  const { given = [], received = [] } = added;
  if (given.length + received.length === 0) return undefined;
  const own = vpc.blocks.get(writer.self);
  const content = create(BlockTransfersSchema, {
    vpc: vpc.id,
    given: [...(own?.given.map(({ signed }) => signed) ?? []), ...given],
    received: [...(own?.received.map(({ signed }) => signed) ?? []), ...received],
  });
  return { key: hostKey(writer.self, writer.zone, "blocks", vpc.id), content: toBinary(BlockTransfersSchema, content) };
}

/** How many transfers its record holds. */
export function transfersOf(vpc: VpcView, host: PeerId): number {
  const own = vpc.blocks.get(host);
  return own === undefined ? 0 : own.given.length + own.received.length;
}
