import { mkdir, open } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { runCommand } from "../../vm/suites/support/run-command.js";
import { Churn } from "../crash/churn.js";
import { CheckerLoad } from "../support/checker.js";
import { Engine } from "../support/engine.js";
import type { Verdict } from "../support/verdict.js";
import { createVolume } from "../support/volumes.js";
import { type FileSystem, format } from "./file-systems.js";
import { fileKey, fileName, type Layout, rawKey, readyMark } from "./layout.js";
import { LoggedDisk } from "./logged-disk.js";

const mebibyte = 1024 ** 2;
const rawBytes = 8 * mebibyte;
const mountedBytes = 24 * mebibyte;
const fileBytes = 4 * mebibyte;

/** Runs a load on volumes of a pool whose disk is logged, and leaves the log behind. */
export async function record(kind: FileSystem, layout: Layout, seconds: number, verdict: Verdict): Promise<void> {
  const disk = await LoggedDisk.create(layout.disk, layout.log);
  await format(kind, disk.path);
  await mkdir(layout.poolMount, { recursive: true });
  await runCommand("mount", [disk.path, layout.poolMount]);
  const engine = new Engine(layout.engineDirectory);
  engine.start();
  await loadVolumes(engine, disk, layout, seconds, verdict);
  await engine.terminate();
  await runCommand("umount", [layout.poolMount]);
  await disk.remove();
}

async function loadVolumes(
  { client }: Engine,
  disk: LoggedDisk,
  layout: Layout,
  seconds: number,
  verdict: Verdict,
): Promise<void> {
  const raw = await client.attach(await createVolume(layout.images, "raw", rawBytes));
  const mounted = await client.attach(await createVolume(layout.images, "mounted", mountedBytes));
  await format("ext4", mounted.path);
  await mkdir(layout.volumeMount, { recursive: true });
  await runCommand("mount", [mounted.path, layout.volumeMount]);
  const file = join(layout.volumeMount, fileName);
  await allocate(file);
  await runCommand("sync", []);
  await disk.mark(readyMark);
  const loadOn = (device: string, key: number, log: string) =>
    new CheckerLoad({ device, key, log, threads: 4, pauseUs: 4000, mark: LoggedDisk.deviceName });
  const loads = [loadOn(raw.path, rawKey, layout.rawEvents), loadOn(file, fileKey, layout.fileEvents)];
  const churn = new Churn(client, await createVolume(layout.images, "churn", mebibyte));
  await delay(seconds * 1000);
  await churn.stop();
  for (const load of loads) verdict.addLoad(await load.stop(), load.findings);
  await runCommand("umount", [layout.volumeMount]);
  for (const volumeId of ["raw", "mounted", "churn"]) await client.detach(volumeId);
}

/** A hole would make every write one of the file system's own records too. */
async function allocate(path: string): Promise<void> {
  await runCommand("dd", ["if=/dev/zero", `of=${path}`, "bs=1M", `count=${fileBytes / mebibyte}`, "status=none"]);
  const file = await open(path, "r");
  await file.sync();
  await file.close();
}
