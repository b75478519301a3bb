import { join } from "node:path";
import { inParallel } from "../../../src/system/in-parallel.js";
import type { UblkDevice } from "../../../src/ublk/index.js";
import { loadLibrary } from "../../vm/suites/support/library.js";
import { CheckerLoad } from "../support/checker.js";
import type { Verdict } from "../support/verdict.js";
import { createVolume } from "../support/volumes.js";

const sizeBytes = 1024 ** 2;
const writesOfEach = 10;
/** Each user is a process, and the guest has two processors. */
const usersAtATime = 8;

/** Makes so many devices at once, has each written, read and compared, and removes all at once. */
export async function useManyDevices(count: number, directory: string, verdict: Verdict): Promise<void> {
  const { createAndServe, stopAndDelete } = await loadLibrary();
  const numbers = Array.from({ length: count }, (_, index) => index);
  const images = await Promise.all(
    numbers.map((index) => createVolume(join(directory, "many"), `v${index}`, sizeBytes)),
  );
  const devices = await Promise.all(
    images.map(({ image }) => createAndServe({ target: { kind: "file", path: image.path } }, { queueDepth: 8 })),
  );
  await inParallel(devices, usersAtATime, (device) => use(device, verdict));
  await Promise.all(devices.map((device) => stopAndDelete(device)));
}

async function use({ path, deviceId }: UblkDevice, verdict: Verdict): Promise<void> {
  const load = new CheckerLoad({ device: path, key: deviceId + 1, writes: writesOfEach, threads: 4 });
  const counts = await load.wait();
  verdict.addLoad(counts, load.findings);
}
