import { join } from "node:path";
import { loadUblk } from "../ublk/ublk.js";
import { withFailPoint } from "./fail-point.js";
import { CopyRecords } from "./journal/copy-records.js";
import { FileJournal } from "./journal/journal.js";
import type { EngineLogger } from "./logger.js";
import { UblkBlockDevices } from "./ublk-block-devices.js";

/** What an engine of a driver is told. */
export interface EngineSettings {
  stateDir: string;
  logger: EngineLogger;
  allowBrokenKernel: boolean;
  /** For crash tests only: see fail-point.ts. */
  dieAt?: string | undefined;
}

/** The devices of the driver with this state directory, served in this very process. */
export function createUblkBlockDevices(settings: EngineSettings): UblkBlockDevices {
  const { stateDir, logger, dieAt } = settings;
  const journal = withFailPoint(new FileJournal(join(stateDir, "engine", "devices")), dieAt);
  const copies = new CopyRecords(join(stateDir, "engine", "copies"));
  return new UblkBlockDevices({ ublk: loadUblk(settings), journal, copies, logger });
}
