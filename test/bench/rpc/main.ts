import { ControllerService, GetCapacityRequest, ListVolumesRequest } from "../../../src/gen/csi/csi.js";
import { inParallel } from "../../../src/system/in-parallel.js";
import { TestBed } from "../../vm/suites/support/test-bed.js";
import { describeVolume, timeLife } from "./calls.js";
import { Latencies } from "./latencies.js";
import { plantVolumes } from "./records.js";
import { formatTable } from "./table.js";

/** The extent, smaller for a look at the bench itself. */
const otherVolumes = Number(process.env.UBLK_BENCH_OTHERS ?? 299);
const lives = Number(process.env.UBLK_BENCH_LIVES ?? 100);
const recordCount = Number(process.env.UBLK_BENCH_RECORDS ?? 10_000);
const pageLength = 100;

/** The same lives of one volume, alone and beside many that are mounted. */
async function main(): Promise<void> {
  const bed = await TestBed.start("bench-rpc", { logLevel: "warn" });
  try {
    const alone = await timeLives(bed);
    report("beside no other volume: done");
    const others = Array.from({ length: otherVolumes }, (_, index) => describeVolume(bed, `other-${index}`));
    await inParallel(others, 4, (volume) => volume.start());
    report(`${otherVolumes} other volumes are mounted`);
    const among = await timeLives(bed);
    report("beside them: done");
    await inParallel(others, 4, (volume) => volume.finish());
    const columns = new Map([
      ["1 volume", alone],
      [`${otherVolumes + 1} volumes`, among],
    ]);
    process.stdout.write(`Milliseconds, ${lives} calls each.\n\n${formatTable(columns)}\n\n`);
    await timeManyRecords(bed);
  } finally {
    await bed.dispose();
  }
}

/** The bench takes long and prints its tables last; this tells on the way how far it is. */
function report(stage: string): void {
  process.stderr.write(`bench-rpc: ${stage} after ${Math.round(performance.now() / 1000)} s\n`);
}

async function timeLives(bed: TestBed): Promise<Latencies> {
  const latencies = new Latencies();
  for (let life = 0; life < lives; life++) await timeLife(bed, describeVolume(bed, "measured"), latencies);
  return latencies;
}

async function timeManyRecords(bed: TestBed): Promise<void> {
  await bed.driver.terminate();
  await plantVolumes(bed.poolPath, recordCount);
  const latencies = new Latencies();
  await latencies.time("start until Probe is ready", () => bed.restart());
  for (let round = 0; round < lives; round++) {
    await latencies.time("ListVolumes, all in one answer", () => list(bed));
  }
  await timePages(bed, latencies);
  for (let round = 0; round < lives; round++) {
    await latencies.time("GetCapacity", () =>
      bed.driver.client.call(ControllerService.getCapacity, GetCapacityRequest.fromPartial({})),
    );
  }
  const columns = new Map([[`${recordCount} records`, latencies]]);
  process.stdout.write(`${formatTable(columns)}\n`);
}

async function timePages(bed: TestBed, latencies: Latencies): Promise<void> {
  let seen = 0;
  let startingToken = "";
  do {
    const token = startingToken;
    const { entries, nextToken } = await latencies.time(`ListVolumes, a page of ${pageLength}`, () =>
      list(bed, { startingToken: token, maxEntries: pageLength }),
    );
    seen += entries.length;
    startingToken = nextToken;
  } while (startingToken !== "");
  if (seen !== recordCount) throw new Error(`the pages held ${seen} volumes, expected ${recordCount}`);
}

async function list({ driver }: TestBed, request: { startingToken?: string; maxEntries?: number } = {}) {
  return await driver.client.call(ControllerService.listVolumes, ListVolumesRequest.fromPartial(request));
}

await main();
