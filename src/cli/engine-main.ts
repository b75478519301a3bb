import { readFailPoint } from "../config.js";
import { createLineLogger, writeToStderr, writeToStdout } from "../line-logger.js";
import { engineHelp, parseEngineConfig } from "./engine-config.js";
import { runEngine } from "./run-engine.js";
import { ConfigError } from "./values.js";

/** `ublk-csi engine`. Returns the exit code: 2 for a command line that is wrong. */
export async function main(args: readonly string[]): Promise<number> {
  const stop = new AbortController();
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => stop.abort());
  try {
    const config = parseEngineConfig(args);
    if (config) {
      const logger = createLineLogger(config.logLevel, config.dryRun ? writeToStderr : writeToStdout);
      return await runEngine({ ...config, dieAt: readFailPoint() }, logger, stop.signal);
    }
    process.stdout.write(engineHelp);
    return 0;
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    process.stderr.write(`ublk-csi: ${error.message}\n`);
    return 2;
  }
}
