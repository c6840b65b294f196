import type { Role } from "./admin-requests.ts";

/**
 * What each call of the contract needs. A viewer sees what there is; an operator does everything on containers, their
 * output included (it may hold secrets); an admin decides who is in. A test compares the table with the contract.
 */
const NEEDED: Readonly<Record<string, Role>> = {
  WhoAmI: "viewer",
  ListContainers: "viewer",
  ContainerStatus: "viewer",
  Metrics: "viewer",
  Resolve: "viewer",
  ListHosts: "viewer",
  ListKeys: "viewer",
  ListFirewallRules: "viewer",
  CreateFirewallRule: "operator",
  RemoveFirewallRules: "operator",
  ListVpcs: "viewer",
  InspectVpcs: "viewer",
  CreateVpc: "operator",
  DeleteVpcs: "operator",
  ListVolumes: "viewer",
  InspectVolumes: "viewer",
  ListImages: "viewer",
  Run: "operator",
  Stop: "operator",
  Start: "operator",
  Restart: "operator",
  Remove: "operator",
  Logs: "operator",
  Attach: "operator",
  CreateVolume: "operator",
  DeleteVolumes: "operator",
  Exec: "operator",
  Inspect: "viewer",
  Wait: "viewer",
  Tunnel: "operator",
  MissingBlobs: "operator",
  Push: "operator",
  RemoveImages: "operator",
  CreateInvite: "admin",
  RemoveHost: "admin",
  CreateKey: "admin",
  RevokeKey: "admin",
};

const RANK: Readonly<Record<Role, number>> = { viewer: 1, operator: 2, admin: 3 };

/** Calls that nobody signs. */
export const UNSIGNED_CALLS: readonly string[] = ["Hello", "Admit", "Introduce"];

/** A call that this version does not know is for admins: a forgotten line must not open a door. */
export function roleNeeded(call: string): Role {
  return (Object.hasOwn(NEEDED, call) ? NEEDED[call] : undefined) ?? "admin";
}

export function roleAllows(role: Role, call: string): boolean {
  return RANK[role] >= RANK[roleNeeded(call)];
}

/** Positive when `a` may more than `b`. */
export function compareRoles(a: Role, b: Role): number {
  return RANK[a] - RANK[b];
}
