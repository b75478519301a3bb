import { join } from "node:path";
import type { TestBed } from "../vm/suites/support/test-bed.js";
import type { TestVolume } from "../vm/suites/support/test-volume.js";
import type { Printer } from "./printer.js";
import { RecordWriter, type WriterReport } from "./record-writer.js";
import { verifyRecords } from "./records.js";
import { showBringUp, showMount, showRemoval, showUnmount } from "./volume-life.js";

const recordsPerPhase = 100;

/** Kills the driver while a mounted volume is being written, starts it again, and checks every record. */
export async function showCrash(printer: Printer, bed: TestBed, volume: TestVolume): Promise<void> {
  await showBringUp(printer, volume);
  const file = join(volume.targetPath, "records");
  const { written } = await writeAcrossCrash(printer, bed, new RecordWriter(file));
  await showUnmount(printer, volume);
  await showMount(printer, volume);
  await printer.step(
    "read records back",
    () => verifyRecords(file, written),
    (count) => `the last ${count} of ${written} are there and right`,
  );
  await showRemoval(printer, volume);
}

async function writeAcrossCrash(printer: Printer, bed: TestBed, writer: RecordWriter): Promise<WriterReport> {
  try {
    await printer.step(
      "writer starts",
      () => writer.waitForMore(recordsPerPhase),
      () => `${writer.written} records written, fsync after each`,
    );
    await printer.step(
      "SIGKILL to the driver",
      () => bed.driver.kill(),
      () => `process ${bed.driver.pid} is gone, ${writer.written} records written`,
    );
    await printer.step(
      "driver starts again",
      () => bed.restart(),
      () => `process ${bed.driver.pid} took the device back`,
    );
    await printer.step(
      "writer goes on",
      () => writer.waitForMore(recordsPerPhase),
      () => `${writer.written} records written`,
    );
    return await printer.step(
      "writer stops",
      () => writer.stop(),
      ({ written, longestPauseMs }) => `${written} records, no error, longest pause ${Math.round(longestPauseMs)} ms`,
    );
  } finally {
    await writer.kill();
  }
}
