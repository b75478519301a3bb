import { stat } from "node:fs/promises";
import { join } from "node:path";
import { runCommand } from "../../vm/suites/support/run-command.js";
import { type Verification, verifyLog } from "../support/checker.js";
import { Engine } from "../support/engine.js";
import { checkClean, type FileSystem } from "./file-systems.js";
import { fileName, type Layout } from "./layout.js";
import { DiskView } from "./logged-disk.js";

/** Numbers of the last flush of each checker that is in the log before a point; 0: none. */
export interface FlushMarks {
  raw: number;
  file: number;
}

export interface Inspection {
  raw: Verification;
  file: Verification;
}

/** Starts the node that lost its power: mounts the pool, starts an engine on its state, and looks at both volumes. */
export async function inspect(kind: FileSystem, layout: Layout, marks: FlushMarks): Promise<Inspection> {
  const view = await DiskView.create(layout.replica, layout.store);
  await runCommand("mount", [view.path, layout.poolMount]);
  const engine = new Engine(layout.engineDirectory);
  try {
    engine.start();
    return await inspectVolumes(engine, layout, marks);
  } finally {
    await engine.terminate();
    await runCommand("umount", [layout.poolMount]);
    await checkClean(kind, view.path);
    await view.remove();
  }
}

async function inspectVolumes({ client }: Engine, layout: Layout, marks: FlushMarks): Promise<Inspection> {
  const failed = (await client.adopt()).entries.filter(({ action }) => action === "failed");
  if (failed.length > 0) throw new Error(`the journal: ${failed.map(({ reason }) => reason).join("; ")}`);
  const raw = await client.attach(await describe(layout, "raw"));
  const mounted = await client.attach(await describe(layout, "mounted"));
  const rawCounts = await verifyLog(raw.path, layout.rawEvents, marks.raw);
  await runCommand("mount", [mounted.path, layout.volumeMount]);
  const fileCounts = await verifyLog(join(layout.volumeMount, fileName), layout.fileEvents, marks.file);
  await runCommand("umount", [layout.volumeMount]);
  await checkClean("ext4", mounted.path);
  for (const volumeId of ["raw", "mounted"]) await client.detach(volumeId);
  return { raw: rawCounts, file: fileCounts };
}

async function describe({ images }: Layout, volumeId: string) {
  const path = join(images, volumeId);
  const { size } = await stat(path);
  const geometry = { sizeBytes: BigInt(size), logicalBlockSizeBytes: 512 };
  return { volumeId, image: { kind: "file" as const, path }, ...geometry, readOnly: false, discard: false };
}
