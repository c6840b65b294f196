import { AUTHORITY_MUTATIONS } from "./authority.ts";
import type { Mutation } from "./mutation.ts";
import { PLACEMENT_MUTATIONS } from "./placement.ts";
import { STATE_MUTATIONS } from "./state.ts";
import { VOLUME_MUTATIONS } from "./volumes.ts";
import { VPC_MUTATIONS } from "./vpcs.ts";

export const MUTATIONS: readonly Mutation[] = [...STATE_MUTATIONS, ...PLACEMENT_MUTATIONS, ...AUTHORITY_MUTATIONS, ...VOLUME_MUTATIONS, ...VPC_MUTATIONS];
