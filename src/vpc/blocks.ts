import { addressAt, type Cidr, containsCidr, type Ip, type PeerId, sizeOf, widthOf } from "../base/index.ts";
import type { BlockShare, VpcView } from "../state/index.ts";

/** A block of addresses with the one host that may give them out. `epoch`: how often it changed hands. */
export type Piece = { readonly block: Cidr; readonly owner: PeerId; readonly epoch: number };

/** The creator keeps a quarter of a new VPC: most of its containers are on their way there already. */
const CREATOR_SHARE_BITS = 2;
/** Parts that each other host gets at least, where there are addresses enough: so that shares differ by a quarter at most. */
const PARTS_EACH = 4;

/** The first split: a quarter for the creator, the rest in equal shares for the zone's other hosts. Shares of few addresses may be empty. */
export function firstSplit(cidr: Cidr, creator: PeerId, hosts: readonly PeerId[]): readonly BlockShare[] {
  const others = [...new Set(hosts)].filter((host) => host !== creator).sort();
  if (others.length === 0) return [{ owner: creator, blocks: [cidr] }];
  const hostBits = widthOf(cidr.base) - cidr.bits;
  let partBits = CREATOR_SHARE_BITS;
  // A quarter less: 3 of 4 parts are the others'.
  const parts = (): number => 3 * 2 ** (partBits - CREATOR_SHARE_BITS);
  while (parts() < PARTS_EACH * others.length && partBits < hostBits) partBits += 1;
  const partSize = sizeOf(cidr) >> BigInt(partBits);
  const quarter = sizeOf(cidr) >> BigInt(CREATOR_SHARE_BITS);
  const at = (index: number): bigint => cidr.base.value + quarter + BigInt(Math.floor((index * parts()) / others.length)) * partSize;
  return [
    { owner: creator, blocks: [{ base: cidr.base, bits: cidr.bits + CREATOR_SHARE_BITS }] },
    ...others.map((owner, index) => ({ owner, blocks: cidrsOf(cidr.base.family, at(index), at(index + 1)) })),
  ];
}

/** The fewest CIDRs that are together the addresses of [from, to). */
function cidrsOf(family: 4 | 6, from: bigint, to: bigint): Cidr[] {
  const width = widthOf({ family });
  const blocks: Cidr[] = [];
  for (let at = from; at < to; ) {
    let freeBits = 0;
    while (freeBits < width && at % (2n << BigInt(freeBits)) === 0n && at + (2n << BigInt(freeBits)) <= to) freeBits += 1;
    blocks.push({ base: { family, value: at }, bits: width - freeBits });
    at += 1n << BigInt(freeBits);
  }
  return blocks;
}

const derived = new WeakMap<VpcView, readonly Piece[]>();

/**
 * Who owns what: the split, and every transfer from who owned the block at the epoch before. Of two transfers of one block at one
 * epoch, which only a liar gives, an heir's counts, then the one that sorts first. The same records give the same on every host.
 */
export function piecesOf(vpc: VpcView): readonly Piece[] {
  const known = derived.get(vpc) ?? derivePieces(vpc);
  derived.set(vpc, known);
  return known;
}

function derivePieces(vpc: Pick<VpcView, "split" | "transfers">): readonly Piece[] {
  let pieces: Piece[] = vpc.split.flatMap(({ owner, blocks }) => blocks.map((block) => ({ block, owner, epoch: 0 })));
  // Stable: what sorted first among equals stays first.
  const ordered = [...vpc.transfers].sort((a, b) => a.epoch - b.epoch || Number(b.inherited) - Number(a.inherited));
  for (const { block, epoch, from, to } of ordered) {
    const piece = pieces.find((one) => one.owner === from && one.epoch === epoch - 1 && containsCidr(one.block, block));
    if (piece === undefined) continue;
    pieces = [...pieces.filter((one) => one !== piece), ...without(piece.block, block).map((rest) => ({ ...piece, block: rest })), { block, owner: to, epoch }];
  }
  return pieces.sort((a, b) => (a.block.base.value < b.block.base.value ? -1 : 1));
}

/** `outer` without `inner`, which lies in it: the other half at every step on the way. */
function without(outer: Cidr, inner: Cidr): Cidr[] {
  if (outer.bits === inner.bits) return [];
  const [low, high] = halves(outer);
  return containsCidr(low, inner) ? [...without(low, inner), high] : [low, ...without(high, inner)];
}

function halves(block: Cidr): readonly [Cidr, Cidr] {
  const bits = block.bits + 1;
  return [
    { base: block.base, bits },
    { base: addressAt(block, sizeOf(block) / 2n), bits },
  ];
}

export const gatewayOf = (cidr: Cidr): Ip => addressAt(cidr, 1n);

/** How many addresses a VPC has for containers. */
export const capacityOf = (cidr: Cidr): bigint => sizeOf(cidr) - 3n;

/** What may not be given out: reserved addresses (the network's own, the gateway, broadcast) and taken ones, in order, each once. */
export type TakenAddresses = readonly bigint[];

export function takenIn(cidr: Cidr, taken: Iterable<Ip>): TakenAddresses {
  const last = addressAt(cidr, sizeOf(cidr) - 1n);
  const all = new Set([cidr.base, gatewayOf(cidr), last, ...taken].map(({ value }) => value));
  return [...all].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
}

/** How many of `taken` lie in the block. */
function countIn(taken: TakenAddresses, block: Cidr): number {
  return positionOf(taken, block.base.value + sizeOf(block)) - positionOf(taken, block.base.value);
}

function positionOf(taken: TakenAddresses, value: bigint): number {
  let low = 0;
  let high = taken.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const at = taken[middle];
    if (at !== undefined && at < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

export const freeIn = (block: Cidr, taken: TakenAddresses): bigint => sizeOf(block) - BigInt(countIn(taken, block));

/** The lowest address of the blocks that is not taken. */
export function lowestFree(blocks: readonly Cidr[], taken: TakenAddresses): Ip | undefined {
  for (const block of [...blocks].sort((a, b) => (a.base.value < b.base.value ? -1 : 1))) {
    if (freeIn(block, taken) === 0n) continue;
    let { value } = block.base;
    for (let at = positionOf(taken, value); taken[at] === value; at += 1) value += 1n;
    return { family: block.base.family, value };
  }
  return undefined;
}

/** What an owner gives to who asks: half of its largest block without a taken address, or that address where it is a single one. */
export function blockToGive(pieces: readonly Piece[], owner: PeerId, taken: TakenAddresses): Piece | undefined {
  let best: Piece | undefined;
  for (const piece of pieces) {
    const free = piece.owner === owner ? largestFree(piece.block, taken) : undefined;
    if (free !== undefined && (best === undefined || free.bits < best.block.bits)) best = { ...piece, block: free };
  }
  if (best === undefined || sizeOf(best.block) === 1n) return best;
  return { ...best, block: halves(best.block)[1] };
}

function largestFree(block: Cidr, taken: TakenAddresses): Cidr | undefined {
  const count = countIn(taken, block);
  if (count === 0) return block;
  if (BigInt(count) === sizeOf(block)) return undefined;
  const [low, high] = halves(block).map((half) => largestFree(half, taken));
  if (low === undefined || high === undefined) return low ?? high;
  return high.bits < low.bits ? high : low;
}

/** How many different addresses the pieces have: their sizes together, when none overlaps another. */
export function addressesIn(pieces: readonly Piece[]): bigint {
  let covered = 0n;
  let end = 0n;
  for (const { block } of [...pieces].sort((x, y) => (x.block.base.value < y.block.base.value ? -1 : 1))) {
    const to = block.base.value + sizeOf(block);
    if (to <= end) continue;
    covered += to - (block.base.value > end ? block.base.value : end);
    end = to;
  }
  return covered;
}
