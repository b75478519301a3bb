import { join } from "node:path";
import type { UblkDevice } from "../../../src/ublk/index.js";
import { loadLibrary } from "../../vm/suites/support/library.js";
import { type OwnResources, readOwnResources } from "../support/own-resources.js";
import { createVolume } from "../support/volumes.js";

const sizeBytes = 4 * 1024 ** 2;

/** What idle devices of the default geometry hold, as a Markdown table with a row for each count. */
export async function measureIdleDevices(counts: readonly number[], directory: string): Promise<string> {
  const { createAndServe, stopAndDelete } = await loadLibrary();
  const empty = await readOwnResources();
  const devices: UblkDevice[] = [];
  const rows: string[] = [];
  for (const count of counts) {
    while (devices.length < count) {
      const { image } = await createVolume(join(directory, "idle"), `v${devices.length}`, sizeBytes);
      devices.push(await createAndServe({ target: { kind: "file", path: image.path } }, { queueCount: 1 }));
    }
    rows.push(formatRow(count, empty, await readOwnResources()));
  }
  const mode = devices[0]?.dataMode ?? "copy";
  await Promise.all(devices.map((device) => stopAndDelete(device)));
  return [
    `Idle devices, file target, one queue of depth 64, data mode ${mode}; each figure is for one device:`,
    "",
    "| devices | resident KiB | locked KiB | threads | descriptors | mappings |",
    "|---:|---:|---:|---:|---:|---:|",
    ...rows,
  ].join("\n");
}

function formatRow(count: number, empty: OwnResources, full: OwnResources): string {
  const perDevice = (name: keyof OwnResources) => ((full[name] - empty[name]) / count).toFixed(1);
  const names = ["residentKib", "lockedKib", "threads", "descriptors", "allMappings"] as const;
  return `| ${[count, ...names.map(perDevice)].join(" | ")} |`;
}
