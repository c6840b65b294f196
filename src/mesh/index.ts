export * from "./liveness.ts";
export * from "./mesh.ts";
