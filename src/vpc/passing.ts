import type { Ip } from "../base/index.ts";

const CLASS_E = 240n << 24n;
const LAST_28_BITS = (1n << 28n) - 1n;

/**
 * The address by which a host passes published ports on to containers of other hosts, inside a VPC: 240.0.0.0/4 with the last 28 bits of
 * its underlay address. Nobody else uses that block, so it lies in no VPC, and no host has it to tell: it needs no allocation. The underlay
 * address itself will not do, since that host may be a client of its own, whose answers go another way.
 */
export const passingAddress = (underlay: Ip): Ip => ({ family: 4, value: CLASS_E | (underlay.value & LAST_28_BITS) });
