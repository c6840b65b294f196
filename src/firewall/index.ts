/** placeholder */
export * from "./driver.ts";
export * from "./rule.ts";
export * from "./rule-input.ts";
export * from "./rulesets.ts";
export * from "./state.ts";
