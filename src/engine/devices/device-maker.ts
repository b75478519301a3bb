import { randomBytes } from "node:crypto";
import type { UblkDevice } from "../../ublk/index.js";
import type { Ublk } from "../../ublk/ublk.js";
import { BlockDeviceError, type BlockDeviceSpec } from "../block-devices.js";
import type { ImageCopies } from "../image-copies.js";
import { identifyImage } from "../journal/image-identity.js";
import type { Journal, JournalProblem } from "../journal/journal.js";
import type { ImageIdentity, JournalEntry } from "../journal/journal-entry.js";
import type { EngineLogger } from "../logger.js";
import { matchDevice, readKernelView } from "../reconciliation/kernel-view.js";
import { type BlockNodes, waitFor } from "./block-nodes.js";
import { defaultGeometry, toTarget } from "./device-geometry.js";

/** A device that this process serves, and its journal entry. */
export interface ServedDevice {
  entry: JournalEntry;
  device: UblkDevice;
}

/** What {@link DeviceMaker} works with. */
export interface DeviceMakerParts {
  ublk: Ublk;
  journal: Journal;
  copies: ImageCopies;
  nodes: BlockNodes;
  logger: EngineLogger;
  nodeTimeoutMs: number;
}

/**
 * Makes devices so that a crash at any moment leaves either nothing or a device that its tag gives away: the entry with
 * the tag is on disk before the kernel hears of the device, and completed before anybody else does.
 */
export class DeviceMaker {
  /** Images whose entry is not on disk yet, with the volume that is about to get them. */
  private readonly claims = new Map<string, string>();

  constructor(private readonly parts: DeviceMakerParts) {}

  async make(spec: BlockDeviceSpec): Promise<ServedDevice> {
    const image = await identifyImage(spec.image, spec.sizeBytes);
    return await this.withClaim(image, spec.volumeId, async () => {
      const entry = newEntry(spec, image);
      await this.parts.journal.write(entry);
      return await this.serve(entry);
    });
  }

  private async serve(entry: JournalEntry): Promise<ServedDevice> {
    let device: UblkDevice | undefined;
    try {
      device = await this.create(entry);
      await this.waitForNode(device);
      const { deviceId, features } = device;
      const complete: JournalEntry = { ...entry, state: "serving", deviceId, features };
      await this.parts.journal.write(complete);
      return { entry: complete, device };
    } catch (error) {
      await this.undo(entry, device);
      throw error;
    }
  }

  private async create(entry: JournalEntry): Promise<UblkDevice> {
    const { image, sizeBytes, queueCount, queueDepth, maxIoBytes, logicalBlockSizeBytes } = entry;
    const { readOnly, discard, ownerTag } = entry;
    const geometry = { queueCount, queueDepth, maxIoBytes, logicalBlockSizeBytes };
    const copies = await this.parts.copies.activeOf(entry.volumeId);
    return await this.parts.ublk.createAndServe(
      { target: toTarget(image), sizeBytes, copies },
      { ...geometry, readOnly, discard, ownerTag, recoverable: true },
    );
  }

  private async waitForNode(device: UblkDevice): Promise<void> {
    const { nodes, nodeTimeoutMs } = this.parts;
    let shown: bigint | undefined;
    const isReady = async () => {
      shown = await nodes.readSizeBytes(device.deviceId);
      return shown === device.sizeBytes;
    };
    if (await waitFor(isReady, { timeoutMs: nodeTimeoutMs })) return;
    throw new BlockDeviceError(
      "unavailable",
      `${device.path} did not appear with ${device.sizeBytes} bytes within ${nodeTimeoutMs} ms ` +
        `(${shown === undefined ? "no such node" : `it shows ${shown} bytes`}): is the host's /dev visible here?`,
    );
  }

  /** Takes back every trace. What resists keeps its entry, so that the next start finds and removes it. */
  private async undo(entry: JournalEntry, device: UblkDevice | undefined): Promise<void> {
    try {
      if (device) await device.stop();
      else await this.removeLeftover(entry);
      await this.parts.journal.remove(entry.volumeId);
    } catch (error) {
      const { volumeId, deviceId = device?.deviceId } = entry;
      this.parts.logger.error({ volumeId, deviceId, err: error }, "half-made device left for the next start to remove");
    }
  }

  private async removeLeftover(entry: JournalEntry): Promise<void> {
    const match = matchDevice(entry, await readKernelView(this.parts.ublk));
    if (match.kind === "mismatch") throw new BlockDeviceError("internal", match.reason);
    if (match.kind !== "found") return;
    await this.parts.ublk.removeDevice(match.info.deviceId, { force: true, ownerTag: entry.ownerTag });
  }

  /** Two devices over one image would destroy it. */
  private async withClaim<T>(image: ImageIdentity, volumeId: string, action: () => Promise<T>): Promise<T> {
    const key = `${image.device}:${image.inode}`;
    const claimant = this.claims.get(key);
    if (claimant !== undefined) throw imageTaken(image, claimant);
    this.claims.set(key, volumeId);
    try {
      const { entries, problems } = await this.parts.journal.readAll();
      const owner = entries.find((entry) => isSameFile(entry.image, image));
      if (owner) throw imageTaken(image, owner.volumeId);
      const unknown = problems.find((problem) => mayName(problem, image));
      if (unknown) throw imageMayBeTaken(image, unknown);
      return await action();
    } finally {
      this.claims.delete(key);
    }
  }
}

function newEntry(spec: BlockDeviceSpec, image: ImageIdentity): JournalEntry {
  const { volumeId, sizeBytes, logicalBlockSizeBytes, readOnly, discard } = spec;
  return {
    volumeId,
    state: "adding",
    ownerTag: newOwnerTag(),
    deviceId: undefined,
    generation: 1,
    image,
    sizeBytes,
    resizingToBytes: undefined,
    limits: {},
    logicalBlockSizeBytes,
    readOnly,
    discard,
    queueCount: spec.queueCount ?? defaultGeometry.queueCount,
    queueDepth: spec.queueDepth ?? defaultGeometry.queueDepth,
    maxIoBytes: defaultGeometry.maxIoBytes,
    features: [],
  };
}

/** Never 0, which is what devices of people without tags carry. */
function newOwnerTag(): bigint {
  return randomBytes(8).readBigUInt64BE() || newOwnerTag();
}

function isSameFile(a: ImageIdentity, b: ImageIdentity): boolean {
  return a.inode === b.inode && a.device === b.device;
}

/** One that says nothing that can be understood may name any image. */
function mayName({ text }: JournalProblem, { path }: ImageIdentity): boolean {
  if (text === undefined) return true;
  try {
    JSON.parse(text);
    return text.includes(JSON.stringify(path));
  } catch {
    return true;
  }
}

function imageMayBeTaken(image: ImageIdentity, { volumeId, reason }: JournalProblem): BlockDeviceError {
  const advice = `volume ${volumeId} may have a device over image ${image.path}: mend or remove its entry first`;
  return new BlockDeviceError("unavailable", `${advice} (${reason})`);
}

function imageTaken(image: ImageIdentity, volumeId: string): BlockDeviceError {
  return new BlockDeviceError("spec_mismatch", `image ${image.path} already has the device of volume ${volumeId}`);
}
