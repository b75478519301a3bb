import { toMessage } from "../../errors.js";
import { ConfigError } from "../values.js";
import { adoptPool } from "./adopt-pool.js";
import { checkPools } from "./check-pools.js";
import { exportImage } from "./export-image.js";
import { importImage } from "./import-image.js";
import { listPools } from "./list-pools.js";
import type { PoolCommand } from "./pool-command.js";
import type { PoolOutcome, PoolParts } from "./pool-outcome.js";
import { formatJson } from "./table.js";

export interface PoolOutput {
  writeOut: (text: string) => void;
  writeError: (line: string) => void;
}

/** Runs a pool command and prints its outcome. Returns the exit code: 0 when all is well, 1 for problems and failures. */
export async function runPool(command: PoolCommand, parts: PoolParts, output: PoolOutput): Promise<number> {
  try {
    const { exitCode, json, text } = await run(command, parts);
    output.writeOut(command.isJson ? formatJson(json) : text);
    return exitCode;
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    output.writeError(`ublk-csi: ${toMessage(error)}`);
    return 1;
  }
}

async function run(command: PoolCommand, parts: PoolParts): Promise<PoolOutcome> {
  switch (command.verb) {
    case "list":
      return await listPools(command.place, parts);
    case "check":
      return await checkPools(command, parts);
    case "adopt":
      return await adoptPool(command, parts);
    case "import":
      return await importImage(command, parts);
    case "export":
      return await exportImage(command, parts);
  }
}
