import { readFile, truncate, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { runCommand } from "./run-command.js";
import type { TestBed } from "./test-bed.js";
import type { TestVolume } from "./test-volume.js";

/** Changes the record of a volume of the file pool while no driver runs; the next one finds it as its own work. */
export async function editRecord(bed: TestBed, volume: TestVolume, change: object): Promise<void> {
  await bed.driver.terminate();
  const path = join(dirname(bed.imagePath(volume)), "volume.json");
  await writeFile(path, JSON.stringify({ ...JSON.parse(await readFile(path, "utf8")), ...change }));
  await bed.restart();
}

/** Gives a volume the bytes that the image of another one has at this moment, used or not: a crash-consistent copy. */
export async function copyImage(bed: TestBed, source: TestVolume, copy: TestVolume): Promise<void> {
  await runCommand("cp", ["--reflink=auto", "--sparse=always", bed.imagePath(source), bed.imagePath(copy)]);
}

/** A larger image and a record that says so: a volume that was expanded while nobody had it. */
export async function enlarge(bed: TestBed, volume: TestVolume, sizeBytes: number): Promise<void> {
  await truncate(bed.imagePath(volume), sizeBytes);
  await editRecord(bed, volume, { sizeBytes: `${sizeBytes}` });
}
