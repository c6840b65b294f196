import { createHash } from "node:crypto";
import { formatIp, type Ip, type VpcId } from "../base/index.ts";

/** Lower-case, with colons. */
export type Mac = string & { readonly brand: "Mac" };

/**
 * The hardware address of an address in a VPC: locally administered, unicast, the same on every host, and another one for the same
 * address in another VPC. So a frame that strays into a VPC of the same VNI finds no port there.
 */
export function macOf(vpc: VpcId, ip: Ip): Mac {
  const hash = createHash("sha256")
    .update(`cc-mac-1\n${vpc}\n${formatIp(ip)}`)
    .digest();
  return `02:${[...hash.subarray(0, 5)].map((byte) => byte.toString(16).padStart(2, "0")).join(":")}` as Mac;
}
