import { constants, copyFile, mkdir, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  type AdoptionReport,
  type BlockDevice,
  type BlockDeviceCapabilities,
  BlockDeviceError,
  type BlockDeviceLimits,
  type BlockDeviceListener,
  type BlockDeviceSpec,
  type BlockDeviceStats,
  type BlockDevices,
  type FreezeToken,
  type ImageCopy,
  type ImageCopySpec,
} from "../block-devices.js";
import { EventHub } from "../devices/event-hub.js";

/**
 * Block devices without a kernel: each is an empty file with the name of a device node. Whether one is in use is the
 * test's word, or that of whoever mounts them.
 */
export class FakeBlockDevices implements BlockDevices {
  /** Every call that arrived, as `verb volume-id`. */
  readonly calls: string[] = [];
  /** The specs of the devices that exist. */
  readonly specs = new Map<string, BlockDeviceSpec>();
  isInUse: (device: BlockDevice) => boolean = () => false;
  /** When set, the next attach or detach fails with it. */
  failure: BlockDeviceError | undefined;
  /** What `setLimits` said last, by volume. */
  readonly limits = new Map<string, BlockDeviceLimits>();
  /** Whether the pretended kernel can grow a device in use. */
  onlineResize = true;
  readonly events = new EventHub();
  /** When set, copies stay under way, with nothing copied, until `settleCopy`. */
  holdCopies = false;
  private readonly copies = new Map<string, { spec: ImageCopySpec; copy: ImageCopy }>();
  private readonly devices = new Map<string, BlockDevice>();
  /** Volumes of which only the name is known. */
  readonly unreadable: string[] = [];
  private readonly idsInMaking = new Set<number>();
  private lastFreeze = 1n;

  constructor(private readonly directory: string) {}

  async attach(spec: BlockDeviceSpec): Promise<BlockDevice> {
    this.enter("attach", spec.volumeId);
    const existing = this.devices.get(spec.volumeId);
    if (existing !== undefined) return this.assertSameSpec(existing, spec);
    const deviceId = this.lowestFreeId();
    this.idsInMaking.add(deviceId);
    const path = join(this.directory, `ublkb${deviceId}`);
    await mkdir(this.directory, { recursive: true });
    await writeFile(path, "");
    this.idsInMaking.delete(deviceId);
    const { volumeId, sizeBytes, readOnly } = spec;
    const device: BlockDevice = { volumeId, deviceId, path, sizeBytes, readOnly, state: "live" };
    this.devices.set(volumeId, device);
    this.specs.set(volumeId, spec);
    return device;
  }

  async detach(volumeId: string): Promise<void> {
    this.enter("detach", volumeId);
    const device = this.devices.get(volumeId);
    if (device === undefined) return;
    if (this.isInUse(device)) throw new BlockDeviceError("in_use", `${device.path} is held open`);
    await rm(device.path);
    this.devices.delete(volumeId);
    this.specs.delete(volumeId);
  }

  async find(volumeId: string): Promise<BlockDevice | undefined> {
    return this.devices.get(volumeId);
  }

  async list(): Promise<BlockDevice[]> {
    return [...this.devices.values()];
  }

  async listVolumeIds(): Promise<string[]> {
    return [...this.devices.keys(), ...this.unreadable];
  }

  async resize(volumeId: string, sizeBytes: bigint): Promise<BlockDevice> {
    this.enter("resize", volumeId);
    const device = this.require(volumeId);
    if (!this.onlineResize) throw new BlockDeviceError("unsupported", `${device.path} was made without UPDATE_SIZE`);
    if (sizeBytes < device.sizeBytes) throw new BlockDeviceError("invalid", `${device.path} cannot shrink`);
    const resized = { ...device, sizeBytes };
    this.devices.set(volumeId, resized);
    return resized;
  }

  async setLimits(volumeId: string, limits: BlockDeviceLimits): Promise<void> {
    this.enter("setLimits", volumeId);
    this.limits.set(this.require(volumeId).volumeId, limits);
  }

  async freeze(volumeIds: readonly string[]): Promise<FreezeToken> {
    for (const volumeId of volumeIds) this.enter("freeze", this.require(volumeId).volumeId);
    return this.lastFreeze++;
  }

  async thaw(volumeIds: readonly string[], _token: FreezeToken): Promise<void> {
    for (const volumeId of volumeIds) this.enter("thaw", this.require(volumeId).volumeId);
  }

  /** The bytes of the sources are copied before it resolves; whether the copies are done is another matter. */
  async startCopies(specs: readonly ImageCopySpec[]): Promise<void> {
    for (const { volumeId } of specs) this.enter("startCopy", volumeId);
    for (const spec of specs) await this.startCopy(spec);
  }

  async findCopy(copyId: string): Promise<ImageCopy | undefined> {
    return this.copies.get(copyId)?.copy;
  }

  /** Copies that were begun and not ended. */
  get copyIds(): string[] {
    return [...this.copies.keys()];
  }

  async endCopy(copyId: string): Promise<void> {
    this.enter("endCopy", copyId);
    this.copies.delete(copyId);
  }

  /** Ends a copy that `holdCopies` has kept under way: well, or with a reason. */
  settleCopy(copyId: string, reason?: string): void {
    const held = this.copies.get(copyId);
    if (held === undefined) throw new Error(`the test settles copy ${copyId}, which was not begun`);
    const { copy } = held;
    if (reason !== undefined) held.copy = { ...copy, state: "failed", reason };
    else held.copy = { ...copy, state: "done", copiedBytes: copy.totalBytes };
  }

  async capabilities(): Promise<BlockDeviceCapabilities> {
    return { onlineResize: this.onlineResize };
  }

  async stats(volumeId: string): Promise<BlockDeviceStats> {
    throw new Error(`the test reads counters of ${volumeId}, which fake devices do not have`);
  }

  onEvent(listener: BlockDeviceListener): () => void {
    return this.events.add(listener);
  }

  async adopt(): Promise<AdoptionReport> {
    return { entries: [] };
  }

  async close(): Promise<void> {
    this.calls.push("close");
  }

  /** Changes a device behind the driver's back. */
  setState(volumeId: string, state: BlockDevice["state"]): void {
    const device = this.devices.get(volumeId);
    if (device === undefined) throw new Error(`the test names volume ${volumeId}, which has no device`);
    this.devices.set(volumeId, { ...device, state });
  }

  private async startCopy(spec: ImageCopySpec): Promise<void> {
    const { copyId, volumeId, source, targetPath, sizeBytes: totalBytes } = spec;
    const known = this.copies.get(copyId)?.spec;
    if (known !== undefined && known.targetPath !== targetPath) {
      throw new BlockDeviceError("spec_mismatch", `copy ${copyId} goes to ${known.targetPath}`);
    }
    if (known !== undefined) return;
    await copyFile(source.path, targetPath, constants.COPYFILE_FICLONE);
    await truncate(targetPath, Number(totalBytes));
    this.copies.set(copyId, { spec, copy: { copyId, volumeId, state: "copying", copiedBytes: 0n, totalBytes } });
    if (!this.holdCopies) this.settleCopy(copyId);
  }

  private require(volumeId: string): BlockDevice {
    const device = this.devices.get(volumeId);
    if (device === undefined) throw new BlockDeviceError("not_found", `volume ${volumeId} has no device`);
    return device;
  }

  private enter(verb: string, volumeId: string): void {
    this.calls.push(`${verb} ${volumeId}`);
    const { failure } = this;
    this.failure = undefined;
    if (failure !== undefined) throw failure;
  }

  private assertSameSpec(device: BlockDevice, spec: BlockDeviceSpec): BlockDevice {
    const known = this.specs.get(device.volumeId);
    const isSame = known?.image.path === spec.image.path && device.readOnly === spec.readOnly;
    if (isSame && device.sizeBytes === spec.sizeBytes) return device;
    throw new BlockDeviceError("spec_mismatch", `${device.path} serves volume ${device.volumeId} in another way`);
  }

  private lowestFreeId(): number {
    const used = new Set([...this.idsInMaking, ...[...this.devices.values()].map((device) => device.deviceId)]);
    let deviceId = 0;
    while (used.has(deviceId)) deviceId++;
    return deviceId;
  }
}
