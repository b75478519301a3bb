import { readFile, stat } from "node:fs/promises";
import { KeyedMutex } from "../system/keyed-mutex.js";
import type { ImageCopyStatus, UblkImageCopy } from "../ublk/image-copy.js";
import type { Ublk } from "../ublk/ublk.js";
import { BlockDeviceError, type ImageCopy, type ImageCopySpec } from "./block-devices.js";
import type { ServedDevice } from "./devices/device-maker.js";
import { type CopyRecord, isSameCopy } from "./journal/copy-record.js";
import type { CopyRecords } from "./journal/copy-records.js";
import { identifyImage } from "./journal/image-identity.js";
import { JournalError } from "./journal/journal-entry.js";
import type { EngineLogger } from "./logger.js";

/** A copy that this process knows. Without `copy` it cannot be gone on with, and the reason says why. */
interface KnownCopy {
  record: CopyRecord;
  copy?: UblkImageCopy;
  reason?: string;
}

/** What {@link ImageCopies} works with. */
export interface ImageCopiesParts {
  ublk: Ublk;
  records: CopyRecords;
  logger: EngineLogger;
  /** Of this boot of the machine. */
  readBootId?: () => Promise<string>;
}

/**
 * The copies of images that were begun and not ended. Its callers see to it that nothing else goes on with the volumes of
 * a call. What is on disk is taken up when it is first asked for: not before, since another engine may have it.
 */
export class ImageCopies {
  private readonly known = new Map<string, KnownCopy>();
  private readonly starting = new Set<string>();
  private readonly mutex = new KeyedMutex();

  constructor(private readonly parts: ImageCopiesParts) {}

  /** Begins copies; `served` are the devices of their volumes, where there are any. */
  async start(specs: readonly ImageCopySpec[], served: ReadonlyMap<string, ServedDevice>, deadlineMs: number) {
    if (await this.areBegun(specs)) return;
    for (const spec of specs) await assertCopiable(spec, served.get(spec.volumeId));
    const group = specs.map(({ copyId }) => copyId);
    for (const copyId of group) this.starting.add(copyId);
    const made: KnownCopy[] = [];
    try {
      await this.parts.records.makeFolder();
      for (const spec of specs) made.push(await this.create({ ...spec, group }));
      const starts = made.map(({ copy, record }) => ({ copy, device: served.get(record.volumeId)?.device }));
      const frozenMs = await this.parts.ublk.startCopies(starts as Parameters<Ublk["startCopies"]>[0], { deadlineMs });
      for (const one of made) this.known.set(one.record.copyId, one);
      this.parts.logger.info({ copyIds: group, frozenMs }, "copies begun");
    } catch (error) {
      for (const one of made) await this.drop(one);
      throw error;
    } finally {
      for (const copyId of group) this.starting.delete(copyId);
    }
  }

  async find(copyId: string): Promise<ImageCopy | undefined> {
    const known = await this.load(copyId);
    return known && toImageCopy(known);
  }

  /** The volume of a copy, or undefined when there is none of this id. */
  async findVolume(copyId: string): Promise<string | undefined> {
    return (await this.load(copyId))?.record.volumeId;
  }

  async end(copyId: string): Promise<void> {
    const known = await this.load(copyId);
    if (known) await this.drop(known);
  }

  /** The copies that a device of this volume must not overtake, under whatever path its image is known by now. */
  async activeOf(volumeId: string): Promise<UblkImageCopy[]> {
    const all = await this.loadAll(volumeId);
    return all.flatMap(({ copy }) => (copy !== undefined && isActive(copy) ? [copy] : []));
  }

  /** Start-up, once the devices are back: goes on with everything, and clears away what was never begun. */
  async resumeAll(): Promise<void> {
    const { orphans } = await this.parts.records.list();
    for (const copyId of orphans) if (!this.starting.has(copyId)) await this.parts.records.remove(copyId);
    await this.loadAll();
  }

  /** Those of one volume, or of all but some, are another engine's from now on. */
  async leave(isLeft: (volumeId: string) => boolean): Promise<void> {
    const left = [...this.known.values()].filter(({ record }) => isLeft(record.volumeId));
    await Promise.all(
      left.map(async ({ record, copy }) => {
        await copy?.pause();
        this.known.delete(record.copyId);
      }),
    );
  }

  /** Whether these are there already; some and not all is a mistake of the caller. */
  private async areBegun(specs: readonly ImageCopySpec[]): Promise<boolean> {
    const found: (KnownCopy | undefined)[] = [];
    for (const spec of specs) found.push(await this.load(spec.copyId));
    for (const [position, spec] of specs.entries()) {
      const record = found[position]?.record;
      if (record === undefined || isSameCopy(record, spec)) continue;
      throw new BlockDeviceError("spec_mismatch", `copy ${spec.copyId} is another one, to ${record.targetPath}`);
    }
    const missing = specs.filter((_, position) => found[position] === undefined);
    if (missing.length === 0 || missing.length === specs.length) return missing.length === 0;
    throw new BlockDeviceError(
      "spec_mismatch",
      `copy ${missing[0]?.copyId} is not there and others of the call are: they cannot have one instant any more, so end those`,
    );
  }

  private async create(record: CopyRecord): Promise<KnownCopy> {
    const copy = await this.parts.ublk.createCopy(await this.toOptions(record));
    try {
      await this.parts.records.write(record);
      return { record, copy };
    } catch (error) {
      await this.drop({ record, copy });
      throw error;
    }
  }

  /** Cancelled first, which its file of progress says: a crash leaves a copy that failed, and no wrong one. */
  private async drop({ record, copy }: KnownCopy): Promise<void> {
    await copy?.cancel();
    await this.parts.records.remove(record.copyId);
    this.known.delete(record.copyId);
  }

  private async loadAll(volumeId?: string): Promise<KnownCopy[]> {
    const { known } = await this.parts.records.list();
    const loaded: KnownCopy[] = [];
    for (const copyId of known) {
      const one = this.starting.has(copyId) ? undefined : await this.load(copyId, volumeId);
      if (one !== undefined) loaded.push(one);
    }
    return loaded.filter(({ record }) => volumeId === undefined || record.volumeId === volumeId);
  }

  /** What is known of a copy, taken up from disk if it has to be, and if it is of `volumeId`. */
  private async load(copyId: string, volumeId?: string): Promise<KnownCopy | undefined> {
    return await this.mutex.run("load", async () => {
      const known = this.known.get(copyId);
      if (known || this.starting.has(copyId)) return known;
      const record = await this.read(copyId);
      if (!record || (volumeId !== undefined && record.volumeId !== volumeId)) return undefined;
      if (await this.removeHalfBegun(record)) return undefined;
      const loaded = await this.resume(record);
      this.known.set(copyId, loaded);
      return loaded;
    });
  }

  /** A record that cannot be read is of a copy that nobody can go on with, whatever volume it is of. */
  private async read(copyId: string): Promise<CopyRecord | undefined> {
    try {
      return await this.parts.records.read(copyId);
    } catch (error) {
      if (!(error instanceof JournalError)) throw error;
      this.parts.logger.error({ copyId, err: error }, "the record of a copy cannot be read");
      await this.parts.records.forgetProgress(copyId);
      return { copyId, volumeId: "", source: { kind: "file", path: "" }, sizeBytes: 0n, targetPath: "", group: [] };
    }
  }

  private async resume(record: CopyRecord): Promise<KnownCopy> {
    const { copyId, volumeId } = record;
    try {
      const copy = await this.parts.ublk.resumeCopy(await this.toOptions(record));
      const { state } = copy.status();
      if (state === "copying") this.parts.logger.info({ copyId, volumeId }, "copy resumed");
      return { record, copy };
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      // The image is about to change: nobody may take the copy for one that can be gone on with.
      await this.parts.records.forgetProgress(copyId);
      this.parts.logger.error({ copyId, volumeId, err: error }, "the copy cannot be gone on with");
      return { record, reason };
    }
  }

  /**
   * A crash at the instant may leave some copies of a group that count, and some that do not yet. Nobody has been told of
   * any. Those that do not count go last: they are what gives the others away.
   */
  private async removeHalfBegun({ group }: CopyRecord): Promise<boolean> {
    const { records } = this.parts;
    const members = await Promise.all(group.map((copyId) => records.read(copyId).catch(() => undefined)));
    const ids = members.flatMap((member) => (member?.group.join() === group.join() ? [member.copyId] : []));
    const facts = await Promise.all(
      ids.map(async (copyId) => ({ copyId, isStarting: await records.isStarting(copyId) })),
    );
    if (!facts.some(({ isStarting }) => isStarting)) return false;
    const ordered = facts.sort((a, b) => Number(a.isStarting) - Number(b.isStarting));
    for (const { copyId } of ordered) await records.remove(copyId);
    return true;
  }

  private async toOptions({ copyId, source, targetPath, sizeBytes }: CopyRecord) {
    const { records, readBootId = readMachineBootId } = this.parts;
    const progressPath = records.toProgressPath(copyId);
    const direct = source.kind === "file";
    return { sourcePath: source.path, targetPath, progressPath, sizeBytes, direct, bootId: await readBootId() };
  }
}

/** Names what is wrong before anything is made. */
async function assertCopiable(spec: ImageCopySpec, served: ServedDevice | undefined): Promise<void> {
  const { copyId, source, sizeBytes, targetPath } = spec;
  await identifyImage(source, sizeBytes);
  if (served && served.entry.image.path !== source.path) {
    const reason = `the device of volume ${spec.volumeId} is over ${served.entry.image.path}, not over ${source.path}`;
    throw new BlockDeviceError("spec_mismatch", `copy ${copyId}: ${reason}`);
  }
  const target = await stat(targetPath, { bigint: true }).catch((cause: unknown) => {
    throw new BlockDeviceError("invalid", `copy ${copyId}: the target ${targetPath} is not there: make it first`, {
      cause,
    });
  });
  if (target.isFile() && target.size >= sizeBytes) return;
  const expected = `expected a regular file of ${sizeBytes} bytes`;
  throw new BlockDeviceError(
    "invalid",
    `copy ${copyId}: the target ${targetPath} has ${target.size} bytes; ${expected}`,
  );
}

function isActive(copy: UblkImageCopy | undefined): boolean {
  return copy?.status().state === "copying";
}

function toImageCopy({ record, copy, reason = "" }: KnownCopy): ImageCopy {
  const { copyId, volumeId, sizeBytes: totalBytes } = record;
  const status: ImageCopyStatus = copy?.status() ?? { state: "failed", copiedBytes: 0n, reason };
  const state = status.state === "starting" ? "copying" : status.state;
  const why = state === "failed" && { reason: status.reason || reason };
  return { copyId, volumeId, state, copiedBytes: status.copiedBytes, totalBytes, ...why };
}

async function readMachineBootId(): Promise<string> {
  return (await readFile("/proc/sys/kernel/random/boot_id", "utf8")).trim();
}
