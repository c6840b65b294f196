import fc from "fast-check";
import t from "tap";
import { type Cidr, formatCidr, formatIp, type Ip, type PeerId, parseCidr, parseIp, sizeOf } from "../../../src/base/index.ts";
import type { BlockShare, Transfer, VpcView } from "../../../src/state/index.ts";
import { addressesIn, blockToGive, capacityOf, firstSplit, freeIn, gatewayOf, lowestFree, type Piece, piecesOf, takenIn } from "../../../src/vpc/blocks.ts";

const cidr = (text: string): Cidr => {
  const parsed = parseCidr(text);
  if (!parsed.ok) throw new Error(parsed.message);
  return parsed.value;
};
const ip = (text: string): Ip => {
  const parsed = parseIp(text);
  if (parsed === undefined) throw new Error(text);
  return parsed;
};
const peers = (count: number): PeerId[] => Array.from({ length: count }, (_, at) => `peer ${String(at).padStart(4, "0")}` as PeerId);
const [a, b, c] = peers(3) as [PeerId, PeerId, PeerId];
const vpc = (split: readonly BlockShare[], transfers: readonly Transfer[] = []): VpcView => ({ split, transfers }) as VpcView;
const transfer = (block: string, epoch: number, from: PeerId, to: PeerId, inherited = false): Transfer => ({
  block: cidr(block),
  epoch,
  from,
  to,
  inherited,
  signed: { $typeName: "cc.v1.SignedTransfer", signed: Buffer.from(`${block} ${epoch} ${to}`), signature: new Uint8Array() },
});
const shown = (pieces: readonly Piece[]): string[] => pieces.map(({ block, owner, epoch }) => `${formatCidr(block)} ${owner} ${epoch}`);
const sizes = (shares: readonly BlockShare[]): bigint[] => shares.map(({ blocks }) => blocks.reduce((sum, block) => sum + sizeOf(block), 0n));

t.test("first split: a quarter for the creator, the rest in equal shares, no address left out or given twice", async (t) => {
  t.same(
    firstSplit(cidr("10.7.0.0/24"), b, [a, b, c]).map(({ owner, blocks }) => [owner, blocks.map(formatCidr)]),
    [
      [b, ["10.7.0.0/26"]],
      [a, ["10.7.0.64/26", "10.7.0.128/27"]],
      [c, ["10.7.0.160/27", "10.7.0.192/26"]],
    ],
  );
  t.same(sizes(firstSplit(cidr("10.7.0.0/24"), a, [a])), [256n], "a lone host has all");
  t.same(sizes(firstSplit(cidr("10.7.0.0/29"), a, peers(20))).filter((size) => size > 0n).length, 7, "of a /29 few have any");
  fc.assert(
    fc.property(fc.integer({ min: 8, max: 29 }), fc.integer({ min: 1, max: 150 }), (bits, count) => {
      const whole = cidr(`${bits < 9 ? "10.0.0.0" : "10.128.0.0"}/${bits}`);
      const shares = firstSplit(whole, a, peers(count));
      const pieces = piecesOf(vpc(shares));
      const gapless = pieces.every(
        ({ block }, at) => at === 0 || sizeOf(pieces[at - 1]?.block ?? block) + (pieces[at - 1]?.block.base.value ?? 0n) === block.base.value,
      );
      const others = sizes(shares).slice(1);
      const even = sizeOf(whole) < BigInt(count) * 8n || others.every((size) => size * 2n >= (others[0] ?? 0n) && size <= (others[0] ?? 0n) * 2n);
      return gapless && even && sizes(shares).reduce((sum, size) => sum + size, 0n) === sizeOf(whole);
    }),
  );
});

t.test("pieces: transfers in the order of their epochs, each from who owned the block", async (t) => {
  const split = [{ owner: a, blocks: [cidr("10.7.0.0/24")] }];
  const forth = transfer("10.7.0.128/25", 1, a, b);
  const on = transfer("10.7.0.192/26", 2, b, c);
  const back = transfer("10.7.0.192/27", 3, c, a);
  const expected = ["10.7.0.0/25 peer 0000 0", "10.7.0.128/26 peer 0001 1", "10.7.0.192/27 peer 0000 3", "10.7.0.224/27 peer 0002 2"];
  t.same(shown(piecesOf(vpc(split, [forth, on, back]))), expected);
  t.same(shown(piecesOf(vpc(split, [back, on, forth]))), expected, "whatever their order");
  t.same(shown(piecesOf(vpc(split, [on]))), ["10.7.0.0/24 peer 0000 0"], "without what came before it counts for nothing yet");
  t.same(shown(piecesOf(vpc(split, [transfer("10.7.0.0/25", 1, b, c)]))), ["10.7.0.0/24 peer 0000 0"], "nobody gives what is another's");
  t.same(
    shown(piecesOf(vpc(split, [forth, transfer("10.7.0.128/25", 1, a, c, true)]))),
    ["10.7.0.0/25 peer 0000 0", "10.7.0.128/25 peer 0002 1"],
    "an heir's comes before what its removed giver gave twice",
  );
});

t.test("free addresses: the lowest first, never network, gateway or broadcast, and all of them to the last", async (t) => {
  const net = cidr("10.7.0.0/29");
  const blocks = [cidr("10.7.0.4/30"), cidr("10.7.0.0/30")];
  const given: string[] = [];
  for (;;) {
    const next = lowestFree(blocks, takenIn(net, given.map(ip)));
    if (next === undefined) break;
    given.push(formatIp(next));
  }
  t.same(given, ["10.7.0.2", "10.7.0.3", "10.7.0.4", "10.7.0.5", "10.7.0.6"]);
  t.equal(BigInt(given.length), capacityOf(net));
  t.equal(formatIp(gatewayOf(net)), "10.7.0.1");
  t.equal(freeIn(net, takenIn(net, [])), 5n);
});

t.test("what an owner gives: half of its largest free block, a single address as a whole, nothing that is taken", async (t) => {
  const net = cidr("10.7.0.0/24");
  const pieces = piecesOf(
    vpc([
      { owner: a, blocks: [cidr("10.7.0.0/25")] },
      { owner: b, blocks: [cidr("10.7.0.128/25")] },
    ]),
  );
  const give = (owner: PeerId, ...taken: string[]): string | undefined => {
    const piece = blockToGive(pieces, owner, takenIn(net, taken.map(ip)));
    return piece === undefined ? undefined : formatCidr(piece.block);
  };
  t.equal(give(a), "10.7.0.96/27", "half of the larger half, since the gateway is in the other");
  t.equal(give(a, "10.7.0.70"), "10.7.0.48/28");
  t.equal(give(c), undefined);
  const tiny = cidr("10.7.0.0/29");
  const single = blockToGive([{ block: cidr("10.7.0.4/30"), owner: a, epoch: 0 }], a, takenIn(tiny, ["10.7.0.5", "10.7.0.6"].map(ip)));
  t.equal(single && formatCidr(single.block), "10.7.0.4/32");
  t.equal(blockToGive([{ block: cidr("10.7.0.4/30"), owner: a, epoch: 0 }], a, takenIn(tiny, ["10.7.0.4", "10.7.0.5", "10.7.0.6"].map(ip))), undefined);
});

t.test("hosts that give on and on: one owner an address at every step, and every address can be given out", async () => {
  const hosts = peers(5);
  fc.assert(
    fc.property(fc.integer({ min: 24, max: 29 }), fc.array(fc.tuple(fc.nat(4), fc.nat(4), fc.boolean()), { maxLength: 60 }), (bits, steps) => {
      const net = cidr(`10.7.0.0/${bits}`);
      const split = firstSplit(net, hosts[0] as PeerId, hosts);
      const transfers: Transfer[] = [];
      const given = new Set<string>();
      for (const [from, to, attach] of steps) {
        const known = vpc(split, [...transfers]);
        const pieces = piecesOf(known);
        const taken = takenIn(net, [...given].map(ip));
        const owner = hosts[from] as PeerId;
        const own = pieces.filter((piece) => piece.owner === owner).map(({ block }) => block);
        if (attach) {
          const address = lowestFree(own, taken);
          if (address !== undefined && given.has(formatIp(address))) return false;
          if (address !== undefined) given.add(formatIp(address));
        } else if (from !== to) {
          const piece = blockToGive(pieces, owner, taken);
          if (piece !== undefined) transfers.push(transfer(formatCidr(piece.block), piece.epoch + 1, owner, hosts[to] as PeerId));
        }
        const after = piecesOf(vpc(split, [...transfers]));
        if (after.reduce((sum, { block }) => sum + sizeOf(block), 0n) !== sizeOf(net) || addressesIn(after) !== sizeOf(net)) return false;
      }
      return true;
    }),
  );
});
