import { join } from "node:path";
import { findMount } from "../vm/suites/support/mounts.js";
import type { TestVolume } from "../vm/suites/support/test-volume.js";
import { describeContent, readContent, writeContent } from "./file-content.js";
import type { Printer } from "./printer.js";

/** The whole life of one mounted volume, each RPC shown. */
export async function showVolumeLife(printer: Printer, volume: TestVolume): Promise<void> {
  await showBringUp(printer, volume);
  const file = join(volume.targetPath, "data");
  const written = await printer.step("write + fsync", () => writeContent(file), describeContent);
  await showUse(printer, volume);
  await showUnmount(printer, volume);
  await showMount(printer, volume);
  await printer.step(
    "read back",
    () => readContent(file, written),
    (content) => `${describeContent(content)}, the same`,
  );
  await showRemoval(printer, volume);
}

/** Created, staged, published. */
export async function showBringUp(printer: Printer, volume: TestVolume): Promise<void> {
  const { parameters = {} } = volume.wish;
  const settings = Object.entries(parameters).map(([name, value]) => `, ${name} ${value}`);
  await printer.step(
    "CreateVolume",
    () => volume.create(),
    ({ volumeId, capacityBytes }) => `${volumeId}, ${toMebibytes(capacityBytes)} MiB${settings.join("")}`,
  );
  await showMount(printer, volume);
}

export async function showRemoval(printer: Printer, volume: TestVolume): Promise<void> {
  await showUnmount(printer, volume);
  await printer.step("DeleteVolume", () => volume.delete());
}

export async function showMount(printer: Printer, volume: TestVolume): Promise<void> {
  await printer.step(
    "NodeStageVolume",
    () => volume.stage(),
    () => describeMount(volume.stagingPath),
  );
  await printer.step(
    "NodePublishVolume",
    () => volume.publish(),
    () => `mounted at ${volume.targetPath}`,
  );
}

export async function showUnmount(printer: Printer, volume: TestVolume): Promise<void> {
  await printer.step("NodeUnpublishVolume", () => volume.unpublish());
  await printer.step("NodeUnstageVolume", () => volume.unstage());
}

async function showUse(printer: Printer, volume: TestVolume): Promise<void> {
  await printer.step(
    "NodeGetVolumeStats",
    () => volume.readStats(),
    ({ usage }) =>
      usage
        .map(({ used, total, unit }) =>
          unit === 1 ? `${toMebibytes(used)} of ${toMebibytes(total)} MiB used` : `${used} inodes used`,
        )
        .join(", "),
  );
}

function describeMount(path: string): string {
  const mount = findMount(path);
  if (mount === undefined) throw new Error(`nothing is mounted at ${path}`);
  return `${mount.source} with ${mount.fsType}`;
}

function toMebibytes(sizeBytes: bigint): number {
  return Number(sizeBytes / 1024n ** 2n);
}
