import { type DestinationStream, destination, type Logger as Pino, pino, stdTimeFunctions } from "pino";
import type { Logger } from "../base/index.ts";
import { redact } from "./redact.ts";

export type LogLevel = "debug" | "info" | "warn" | "error";

/** JSON lines on standard error (or into `to`), secret-looking fields hidden. Written at once: the last line before a crash counts most. */
export function createLogger(options: { readonly level?: LogLevel; readonly fields?: object; readonly to?: DestinationStream } = {}): Logger {
  const STDERR = 2;
  const line = pino(
    { level: options.level ?? "info", base: null, timestamp: stdTimeFunctions.isoTime, formatters: { level: (label) => ({ level: label }) } },
    options.to ?? destination({ dest: STDERR, sync: true }),
  );
  return wrap(options.fields === undefined ? line : line.child(fieldsOf(options.fields)));
}

function wrap(line: Pino): Logger {
  return {
    debug: (fields, message) => line.isLevelEnabled("debug") && line.debug(fieldsOf(fields), message),
    info: (fields, message) => line.isLevelEnabled("info") && line.info(fieldsOf(fields), message),
    warn: (fields, message) => line.warn(fieldsOf(fields), message),
    error: (fields, message) => line.error(fieldsOf(fields), message),
    child: (fields) => wrap(line.child(fieldsOf(fields))),
  };
}

function fieldsOf(fields: object): Record<string, unknown> {
  const copy = redact(fields);
  return typeof copy === "object" && copy !== null ? { ...copy } : {};
}
