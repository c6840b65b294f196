export * from "./replica.ts";
