import { type Logger, pino } from "pino";
import type { LogLevel } from "./log-levels.js";

export type { Logger } from "pino";

/** The process' logger: JSON lines on standard output, with sizes (bigint) written as strings. */
export function createLogger(level: LogLevel): Logger {
  return pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime });
}

/** A logger that says nothing. */
export function createSilentLogger(): Logger {
  return pino({ level: "silent" });
}
