export * from "./blocks.ts";
export * from "./mac.ts";
export * from "./membership.ts";
export * from "./network.ts";
export type { VpcParts } from "./parts.ts";
export * from "./vni.ts";
export { VpcAddresses } from "./vpc-addresses.ts";
export * from "./vpc-cidr.ts";
