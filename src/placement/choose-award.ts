import { hash } from "node:crypto";
import type { PeerId, Random } from "../base/index.ts";

export type PricedBid = { readonly host: PeerId; readonly price: number };

/**
 * The lowest price. Among equals the lowest hash of peer id and a salt drawn for this placement: without the salt all
 * requesters of an idle mesh would run to the same host, and with a plain draw the choice would depend on the bids' order.
 */
export function chooseAward<B extends PricedBid>(bids: readonly B[], random: Random): B | undefined {
  const salt = Buffer.from(random.bytes(8));
  let best: { bid: B; rank: string } | undefined;
  for (const bid of bids) {
    const rank = hash("sha256", Buffer.concat([salt, Buffer.from(bid.host)]), "hex");
    if (best === undefined || bid.price < best.bid.price || (bid.price === best.bid.price && rank < best.rank)) best = { bid, rank };
  }
  return best?.bid;
}
