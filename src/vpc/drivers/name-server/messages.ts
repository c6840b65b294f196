import type { VpcId } from "../../../base/index.ts";
import type { NameTable } from "../../names.ts";

/** From the peer to its name server's process, by the channel between them; one after another, each is said to be taken. */
export type ToNameServer = { readonly number: number } /** A piece of a table, which counts with its last. */ & (
  | { readonly kind: "table"; readonly table: NameTable; readonly isFirst: boolean; readonly isLast: boolean }
  | { readonly kind: "remove"; readonly vpc: VpcId }
  | { readonly kind: "nameservers"; readonly addresses: readonly string[] }
  /** To see that it is still there. */
  | { readonly kind: "ping" }
);

/** What an operator wants to know. */
export type NameServerNotice =
  /** What it asks of that nameserver comes back to it. */
  | { readonly kind: "loop"; readonly nameserver: string }
  /** So many queries of a VPC had no answer since the last notice: there were too many. */
  | { readonly kind: "rate"; readonly vpc: VpcId; readonly queries: number };

export type FromNameServer =
  | { readonly kind: "ready" }
  | { readonly kind: "taken"; readonly number: number }
  /** It cannot listen, and ends. */
  | { readonly kind: "failed"; readonly code: string }
  | { readonly kind: "notice"; readonly notice: NameServerNotice };
