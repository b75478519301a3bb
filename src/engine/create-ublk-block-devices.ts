import { join } from "node:path";
import { loadUblk } from "../ublk/ublk.js";
import { FileJournal } from "./journal.js";
import type { EngineLogger } from "./logger.js";
import { UblkBlockDevices } from "./ublk-block-devices.js";

/** The devices of the driver with this state directory, served in this very process. */
export function createUblkBlockDevices(options: { stateDir: string; logger: EngineLogger }): UblkBlockDevices {
  const journal = new FileJournal(join(options.stateDir, "engine", "devices"));
  return new UblkBlockDevices({ ublk: loadUblk(), journal, logger: options.logger });
}
