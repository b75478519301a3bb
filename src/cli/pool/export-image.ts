import { rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { FileJournal } from "../../engine/journal/journal.js";
import { DriverError } from "../../errors.js";
import { syncImage } from "../../pools/images/image.js";
import { imageSizeBytesOf } from "../../pools/volume/image-size.js";
import { syncDirectory } from "../../system/files.js";
import { assertNothingAt, assertTarget } from "./export-target.js";
import { type AbsentPool, type FoundPool, findPools, isFound } from "./found-pool.js";
import { packImage } from "./image-transfer.js";
import type { ExportCommand, PoolPlace } from "./pool-command.js";
import { withLocks } from "./pool-locks.js";
import type { PoolOutcome, PoolParts } from "./pool-outcome.js";

type Export = ExportCommand & { place: PoolPlace };

interface ExportedImage {
  kind: "volume" | "snapshot";
  path: string;
  sizeBytes: bigint;
  isEncrypted: boolean;
  found: FoundPool;
}

/**
 * Writes an image to a new file, which appears when it is whole. Of a volume it is refused while a driver runs or the
 * volume has a device; a snapshot does not change, and can be had beside a running driver.
 */
export async function exportImage(order: Export, parts: PoolParts): Promise<PoolOutcome> {
  const { place } = order;
  const candidates = await findPools(place, parts);
  const image = findImage(order.id, candidates);
  await assertTarget(order.targetPath, { path: image.path, candidates, readMounts: parts.readMounts });
  const write = async () => await writeImage(order, image, parts);
  if (image.kind === "snapshot") return await write();
  const poolPaths = image.found.request.kind === "file" ? [image.found.directory] : [];
  return await withLocks({ stateDir: place.stateDir, poolPaths }, async () => {
    await assertDetached(order);
    return await write();
  });
}

function findImage(id: string, candidates: ReadonlyArray<FoundPool | AbsentPool>): ExportedImage {
  for (const found of candidates.filter(isFound)) {
    const image = findIn(found, id);
    if (image !== undefined) return image;
  }
  throw new DriverError("missing", `no pool has a volume or snapshot ${id}${mentionAbsent(candidates)}`);
}

function findIn(found: FoundPool, id: string): ExportedImage | undefined {
  const { pool, content, snapshots } = found;
  const broken = [...content.unusable, ...snapshots.unusable].find((each) => each.id === id);
  if (broken !== undefined) throw new DriverError("refused", `${id} cannot be exported: ${broken.reason}`);
  const volume = content.volumes.find((each) => each.id === id);
  if (volume !== undefined) {
    if (volume.growingToBytes !== undefined) {
      throw new DriverError(
        "refused",
        `volume ${id} was growing when its driver ended: start the driver, which ends that`,
      );
    }
    const isEncrypted = volume.parameters.encryption !== undefined;
    return { kind: "volume", path: pool.imagePath(id), sizeBytes: imageSizeBytesOf(volume), isEncrypted, found };
  }
  const snapshot = snapshots.snapshots.find((each) => each.id === id);
  if (snapshot === undefined) return undefined;
  const { state, reason, imageSizeBytes, content: of } = snapshot;
  if (state !== "ready") {
    const why = state === "failed" ? `it has failed: ${reason}` : "its bytes are still being copied";
    throw new DriverError("refused", `snapshot ${id} cannot be exported: ${why}`);
  }
  const isEncrypted = of.parameters.encryption !== undefined;
  return { kind: "snapshot", path: pool.snapshots.imagePath(id), sizeBytes: imageSizeBytes, isEncrypted, found };
}

function mentionAbsent(candidates: ReadonlyArray<FoundPool | AbsentPool>): string {
  const absent = candidates.filter((candidate) => !isFound(candidate));
  return absent.map(({ request, fault }) => `; pool ${request.name} ${fault}`).join("");
}

async function assertDetached({ id, place }: Export): Promise<void> {
  const journal = new FileJournal(join(place.stateDir, "engine", "devices"));
  const { entries, problems } = await journal.readAll();
  if (![...entries, ...problems].some(({ volumeId }) => volumeId === id)) return;
  const remedy = "unpublish and unstage it, or take a snapshot and export that";
  throw new DriverError("refused", `volume ${id} has a device, and could change while it is read: ${remedy}`);
}

async function writeImage(
  { id, targetPath, format }: Export,
  image: ExportedImage,
  parts: PoolParts,
): Promise<PoolOutcome> {
  const partPath = join(dirname(targetPath), `.${basename(targetPath)}.${id}.part`);
  await rm(partPath, { force: true }); // of an export that was killed
  try {
    await packImage(image.path, { path: partPath, format }, parts);
    await syncImage(partPath);
    await assertNothingAt(targetPath);
    await rename(partPath, targetPath);
  } catch (error) {
    await rm(partPath, { force: true });
    throw error;
  }
  await syncDirectory(dirname(targetPath));
  const { kind, sizeBytes, isEncrypted } = image;
  const note = isEncrypted ? ", encrypted as it is, with the header in front" : "";
  const json = { id, kind, path: targetPath, format, sizeBytes, isEncrypted };
  return { exitCode: 0, json, text: `${kind} ${id}: ${sizeBytes} bytes to ${targetPath} as ${format}${note}\n` };
}
