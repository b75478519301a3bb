/** Runs in a guest: lets the power fail at many points of a recorded load. See docs/proof.md. */
import { join } from "node:path";
import { verifyLog } from "../support/checker.js";
import { readNumber, readText, resultsPath } from "../support/settings.js";
import { Verdict } from "../support/verdict.js";
import type { FileSystem } from "./file-systems.js";
import { inspect } from "./inspection.js";
import { createLayout } from "./layout.js";
import { choosePoints } from "./points.js";
import { record } from "./recording.js";
import { CheckerCountsSum } from "./sum.js";
import { WriteLog } from "./write-log.js";

const kind = readText("UBLK_POOL_FS", "xfs") as FileSystem;
const pointCount = readNumber("UBLK_POINTS", 20);
const loadSeconds = readNumber("UBLK_LOAD_SECONDS", 10);
const disks = [0, 1, 2, 3].map((index) => readText(`VM_DISK${index}`, "")).filter((path) => path !== "");

const verdict = new Verdict();
const layout = createLayout(join("/run/ublk-proof", kind), resultsPath, disks);
await record(kind, layout, loadSeconds, verdict);
const recorded = verdict.acknowledgedWrites;
process.stdout.write(`${recorded} acknowledged writes recorded on ${kind}\n`);

const log = new WriteLog(layout.log);
const sum = new CheckerCountsSum();
await expectToMissLaterWrites();
let replayed = 0;
for (const point of choosePoints(log.entries, pointCount)) {
  log.replay(layout.replica, replayed, point.entryCount);
  replayed = point.entryCount;
  const where = `after entry ${point.entryCount}, flushes ${point.marks.raw} and ${point.marks.file}`;
  try {
    const { raw, file } = await inspect(kind, layout, point.marks);
    for (const counts of [raw, file]) sum.add(counts);
    if (raw.findings + file.findings !== "") verdict.addProblem(where, `raw: ${raw.findings}; file: ${file.findings}`);
    process.stdout.write(`${where}: ${raw.writes + file.writes} writes must be there\n`);
  } catch (error) {
    verdict.addProblem(where, error);
    break;
  }
}
log.close();
verdict.lostBlocks += sum.bad;
/** A disk that is still empty must fail the last flush, or nothing below would prove anything. */
async function expectToMissLaterWrites(): Promise<void> {
  const last = choosePoints(log.entries, 1)[0]?.marks.raw;
  const { lost } = await verifyLog(layout.replica, layout.rawEvents, last);
  process.stdout.write(`control: an empty disk has lost ${lost} blocks\n`);
  if (lost === 0) verdict.addProblem("control", "an empty disk passes for a good one");
}

process.exit(
  verdict.close(
    `power failure on ${kind}: ${sum.inspections / 2} points of ${pointCount} in ${log.entries.length} log entries, ` +
      `${sum.writes} flushed writes checked, ${verdict.lostBlocks} blocks lost`,
  ),
);
