export * from "./runtime.ts";
export * from "./spec.ts";
