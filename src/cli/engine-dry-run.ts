import type { EngineLogger } from "../engine/logger.js";
import { formatPlan } from "../engine/reconciliation/reconciliation-plan.js";
import { reportKernel } from "../engine/report-kernel.js";
import type { UblkBlockDevices } from "../engine/ublk-block-devices.js";
import { toMessage } from "../errors.js";
import type { Ublk } from "../ublk/ublk.js";

/** What a dry run looks at, and where it writes. */
export interface DryRun {
  ublk: Pick<Ublk, "checkKernel">;
  devices: Pick<UblkBlockDevices, "plan">;
  logger: EngineLogger;
  /** Gets the table and nothing else. */
  writeTable: (text: string) => void;
  /** Gets a line for people when a start would be refused. */
  writeError: (text: string) => void;
}

/**
 * Prints what a start would do. A kernel on which there would be none is told of, and the table is of what a start could do
 * if that were mended. Returns the exit code of that start.
 */
export async function dryRun({ ublk, devices, logger, writeTable, writeError }: DryRun): Promise<number> {
  const refusal: unknown = await reportKernel(ublk, logger).then(
    () => undefined,
    (error: unknown) => error ?? new Error("no reason given"),
  );
  if (refusal !== undefined) {
    logger.error({ err: refusal }, `a start is refused: ${toMessage(refusal)}`);
    writeError(`ublk-csi: a start is refused: ${toMessage(refusal)}\n`);
  }
  writeTable(`${formatPlan(await devices.plan()).join("\n")}\n`);
  return refusal === undefined ? 0 : 1;
}
