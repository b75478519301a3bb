import { type Logger, pino } from "pino";

export type { Logger } from "pino";

export const logLevels = ["trace", "debug", "info", "warn", "error", "fatal"] as const;
export type LogLevel = (typeof logLevels)[number];

/** The process' logger: JSON lines on standard output, with sizes (bigint) written as strings. */
export function createLogger(level: LogLevel): Logger {
  return pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime });
}

/** A logger that says nothing. */
export function createSilentLogger(): Logger {
  return pino({ level: "silent" });
}
