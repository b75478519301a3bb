import { writeSync } from "node:fs";
import type { EngineLogger } from "./engine/logger.js";
import { type LogLevel, logLevels } from "./log-levels.js";

/**
 * Writes the same JSON lines as the logger of `log.ts` with nothing to load first: an engine that starts after a crash
 * has I/O waiting for it.
 */
export function createLineLogger(level: LogLevel, write: (line: string) => void = writeToStdout): EngineLogger {
  const lowest = logLevels.indexOf(level);
  const at = (name: LogLevel) => (fields: object, message: string) => {
    const rank = logLevels.indexOf(name);
    if (rank >= lowest)
      write(`${JSON.stringify({ level: toNumber(rank), time: now(), ...fields, msg: message }, toJson)}\n`);
  };
  return { info: at("info"), warn: at("warn"), error: at("error") };
}

/** pino's numbers: 10 for trace, 20 for debug, and so on. */
const toNumber = (rank: number): number => (rank + 1) * 10;
const now = (): string => new Date().toISOString();

function toJson(_name: string, value: unknown): unknown {
  if (typeof value === "bigint") return String(value);
  if (!(value instanceof Error)) return value;
  const { name, message, stack, cause } = value;
  return { type: name, message, stack, cause, code: (value as { code?: unknown }).code };
}

/** Where lines go. */
export const writeToStdout = (line: string): void => writeTo(1, line);
export const writeToStderr = (line: string): void => writeTo(2, line);

function writeTo(fd: number, line: string): void {
  try {
    writeSync(fd, line);
  } catch {
    // A reader that is gone or too slow must not end what serves disks.
  }
}
