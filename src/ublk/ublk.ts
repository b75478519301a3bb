import { readdir } from "node:fs/promises";
import { type Addon, type CopyHandle, loadAddon, type NativeDevice, type NativeDeviceSpec } from "./addon.js";
import { type CopyStart, type FreezeOptions, UblkDevice } from "./device.js";
import { type DeviceInfo, toBlockDevicePath, toDeviceInfo } from "./device-info.js";
import { findDeviceUsers } from "./diagnosis/device-users.js";
import { type EnvironmentReader, machineReader } from "./diagnosis/environment.js";
import { toUblkError } from "./diagnosis/explain.js";
import { UblkError } from "./errors.js";
import { EventRelay } from "./events.js";
import { assertMet, negotiateFor, reportRecovered } from "./features/device-features.js";
import { type Feature, toFeatures } from "./features/features.js";
import { assertServing, inspectKernel, type KernelReport } from "./features/kernel-report.js";
import { type FeatureReport, settle } from "./features/negotiate.js";
import { resolveSize } from "./image.js";
import { type ImageCopyOptions, UblkImageCopy } from "./image-copy.js";
import {
  type DeviceOptions,
  type DeviceParams,
  type NormalisedOptions,
  type Target,
  validateOptions,
} from "./options.js";
import { defaultRecoverWaitMs, openWhenFree, type RecoverOptions, waitUntilRecoverable } from "./recover.js";
import { findUblkBelow } from "./stacking.js";
import { findImagePath, toNativeTarget } from "./targets/target.js";
import { waitUntilOwned } from "./unprivileged.js";

/** Which device may be removed, besides its number. */
export interface RemoveOptions {
  /** Also one that waits for a server, whose I/O fails then. */
  force?: boolean;
  /** Only the device that was made with this tag. */
  ownerTag?: bigint;
}

/** How a {@link Ublk} behaves, whatever device it is asked for. */
export interface UblkSettings {
  /** Make devices although this kernel is known to break: as if every device were made with `allowBrokenKernel`. */
  allowBrokenKernel?: boolean;
  /** How long udev has to give the node of an unprivileged device to its maker. Default 5 s. */
  nodeWaitMs?: number;
  /** Who holds a block device; tests give their own. */
  findUsers?: typeof findDeviceUsers;
  /** The ublk devices below a path; tests give their own. */
  findBelow?: typeof findUblkBelow;
  /** The process that serves what this library serves; tests give their own. */
  ownPid?: number;
}

/** The library over one addon and one machine; tests give their own of both. */
export class Ublk {
  constructor(
    private readonly addon: Addon,
    private readonly reader: EnvironmentReader = machineReader,
    private readonly readDeviceIds: () => Promise<number[]> = findDeviceIds,
    private readonly settings: UblkSettings = {},
  ) {}

  /** Makes a block device and serves it. When it resolves, the block device node answers I/O. */
  async createAndServe(params: DeviceParams, options: DeviceOptions = {}): Promise<UblkDevice> {
    const operation = "createAndServe";
    const normalised = validateOptions(params, options, operation);
    const sizeBytes = await resolveSize(normalised, operation);
    const context = { operation, ...subjectOf(normalised) };
    return await this.explained(context, async () => {
      await this.assertNotStacked(normalised.target, operation);
      const kernel = await inspectKernel(this.addon, this.reader);
      assertServing(kernel, operation, normalised.allowBrokenKernel || this.settings.allowBrokenKernel === true);
      const negotiation = await negotiateFor(normalised, kernel, this.reader);
      assertMet(negotiation, operation);
      const features = negotiation.request;
      const copies = toHandles(params.copies);
      const spec = { ...toNativeSpec(normalised), sizeBytes, features, copies, recover: false };
      const toReport = (granted: bigint) => settle(negotiation.reports, features, granted);
      const device = await this.serve(spec, context.imagePath, toReport, (relay) =>
        this.addon.openDevice(spec, relay.receive),
      );
      if (normalised.unprivileged) await this.handOver(device);
      return device;
    });
  }

  /**
   * What a device with these options could have on the running kernel, feature by feature, without making one. `granted`
   * is what is to be expected.
   */
  async reportFeatures(params: DeviceParams, options: DeviceOptions = {}): Promise<FeatureReport[]> {
    const operation = "reportFeatures";
    const normalised = validateOptions(params, options, operation);
    return await this.explained({ operation, subject: "from the kernel" }, async () => {
      const kernel = await inspectKernel(this.addon, this.reader);
      return (await negotiateFor(normalised, kernel, this.reader)).reports;
    });
  }

  /**
   * What the running kernel offers and what is known against it. Rejects where no device could be made: below the floor
   * of features, or on a kernel known to break, unless that is allowed.
   */
  async checkKernel(): Promise<KernelReport> {
    const operation = "checkKernel";
    return await this.explained({ operation, subject: "from the kernel" }, async () => {
      const kernel = await inspectKernel(this.addon, this.reader);
      assertServing(kernel, operation, this.settings.allowBrokenKernel === true);
      return kernel;
    });
  }

  /**
   * Takes back a recoverable device whose server is gone, and serves it from `target`, which must hold the same bytes.
   * Requests that were in flight are sent again. Geometry and features stay as they were.
   */
  async recoverAndServe(deviceId: number, target: Target, options: RecoverOptions = {}): Promise<UblkDevice> {
    const operation = "recoverAndServe";
    const path = findImagePath(target);
    const context = { operation, subject: toBlockDevicePath(deviceId), deviceId, imagePath: path };
    return await this.explained(context, async () => {
      const inspecting = inspectKernel(this.addon, this.reader).catch(() => undefined);
      const info = await waitUntilRecoverable(this.addon, deviceId, options);
      const spec = await toRecoverySpec(info, target, options);
      await this.assertNotStacked(target, operation, deviceId);
      const waitMs = options.waitMs ?? defaultRecoverWaitMs;
      const reports = await reportRecovered(info, target, await inspecting, this.reader);
      const toReport = () => reports;
      return await this.serve(spec, path, toReport, (relay) => openWhenFree(this.addon, spec, relay.receive, waitMs));
    });
  }

  /** Stops a device of this process and deletes it from the kernel: the same as its `stop`. */
  async stopAndDelete(device: UblkDevice): Promise<void> {
    await device.stop();
  }

  /** Freezes one device or a group of them at one instant, see {@link UblkDevice.freeze}. */
  async freeze(devices: UblkDevice | readonly UblkDevice[], options: FreezeOptions): Promise<bigint> {
    return await UblkDevice.freeze(devices instanceof UblkDevice ? [devices] : devices, options);
  }

  /** Prepares a copy of an image for `startCopies`. Its target is an empty sparse file of the same size. */
  async createCopy(options: ImageCopyOptions): Promise<UblkImageCopy> {
    const context = { operation: "createCopy", subject: options.sourcePath, imagePath: options.sourcePath };
    return await this.explained(
      context,
      async () => new UblkImageCopy(this.addon, await this.addon.createCopy(options)),
    );
  }

  /** Goes on with a copy that a process before has begun, or tells how it ended. */
  async resumeCopy(options: ImageCopyOptions): Promise<UblkImageCopy> {
    const context = { operation: "resumeCopy", subject: options.sourcePath, imagePath: options.sourcePath };
    return await this.explained(
      context,
      async () => new UblkImageCopy(this.addon, await this.addon.resumeCopy(options)),
    );
  }

  /** Begins copies at one instant, see {@link UblkDevice.startCopies}. */
  async startCopies(starts: readonly CopyStart[], options: FreezeOptions): Promise<number> {
    const subject = starts.map(({ device }) => device?.path ?? "an image").join(", ");
    return await this.explained({ operation: "startCopies", subject }, () =>
      UblkDevice.startCopies(this.addon, starts, options),
    );
  }

  /**
   * Every ublk device of the machine, whoever made it, by ascending id. Without privilege only one's own unprivileged
   * ones: the kernel does not tell of others.
   */
  async listDevices(): Promise<DeviceInfo[]> {
    const devices: DeviceInfo[] = [];
    for (const deviceId of await this.readDeviceIds()) {
      const device = await this.findDevice(deviceId);
      if (device) devices.push(device);
    }
    return devices;
  }

  /** One device, or undefined when the kernel has none of this id, or does not tell this user of it. */
  async findDevice(deviceId: number): Promise<DeviceInfo | undefined> {
    const context = { operation: "listDevices", subject: `device ${deviceId}`, deviceId };
    try {
      return await this.explained(context, async () => toDeviceInfo(await this.addon.readDeviceInfo(deviceId)));
    } catch (error) {
      if (error instanceof UblkError && isInvisible(error)) return undefined;
      throw error;
    }
  }

  /** The ids of the kernel's devices, ascending, without a look at any of them. */
  async listDeviceIds(): Promise<number[]> {
    return await this.readDeviceIds();
  }

  /** What the running kernel's driver can do. */
  async getFeatures(): Promise<Feature[]> {
    const context = { operation: "getFeatures", subject: "from the kernel" };
    return await this.explained(context, async () => toFeatures(await this.addon.readFeatures()));
  }

  /**
   * Deletes a device that nobody serves. A dead one goes at once; one that waits for a server (`quiesced`, `fail-io`)
   * only with `force`, because the I/O waiting in it fails. A device that is served is refused. With `ownerTag` another
   * device that got this number meanwhile is left alone, and the one that was meant is missing.
   */
  async removeDevice(deviceId: number, { force = false, ownerTag }: RemoveOptions = {}): Promise<void> {
    const context = { operation: "removeDevice", subject: `device ${deviceId}`, deviceId };
    await this.explained(context, async () => {
      assertRemovable(toDeviceInfo(await this.addon.readDeviceInfo(deviceId)), force);
      await this.addon.removeDevice(deviceId, ownerTag);
    });
  }

  /** A device whose maker cannot use it is taken down again. */
  private async handOver(device: UblkDevice): Promise<void> {
    try {
      await waitUntilOwned(device.path, this.reader, this.settings.nodeWaitMs);
    } catch (error) {
      await device.stop();
      throw error;
    }
  }

  private async serve(
    spec: NativeDeviceSpec,
    imagePath: string | undefined,
    toReport: (granted: bigint) => FeatureReport[],
    open: (relay: EventRelay) => Promise<NativeDevice>,
  ): Promise<UblkDevice> {
    const relay = new EventRelay();
    const native = await open(relay);
    const { readOnly, logicalBlockSizeBytes, features: requestedFeatures } = spec;
    const { addon, reader } = this;
    const { findUsers = findDeviceUsers } = this.settings;
    const featureReport = toReport(native.features);
    const geometry = { requestedFeatures, readOnly, logicalBlockSizeBytes, featureReport };
    const hasFaults = spec.target.kind === "fault";
    return new UblkDevice({ hasFaults, addon, reader, findUsers, relay, native, imagePath, ...geometry });
  }

  /** A process that serves both a device and the disk below it waits for itself when it ends or runs out of memory. */
  private async assertNotStacked(target: Target, operation: string, ownId?: number): Promise<void> {
    const path = findImagePath(target);
    if (path === undefined) return;
    const { findBelow = findUblkBelow, ownPid = process.pid } = this.settings;
    for (const deviceId of await findBelow(path)) {
      if (deviceId !== ownId && (await this.findDevice(deviceId))?.serverPid !== ownPid) continue;
      const device = deviceId === ownId ? "the device itself" : "which this process serves itself";
      throw new UblkError("image_unusable", `${path} lies on ${toBlockDevicePath(deviceId)}, ${device}`, {
        operation,
        hint: "serve one of the two from another process, or keep the image on another disk",
      });
    }
  }

  private async explained<T>(
    context: { operation: string; subject: string; imagePath?: string | undefined; deviceId?: number | undefined },
    action: () => Promise<T>,
  ): Promise<T> {
    try {
      return await action();
    } catch (error) {
      throw await toUblkError(error, context, this.reader);
    }
  }
}

/** The library over the addon that was built with it. Throws `addon_not_built` when there is none. */
export function loadUblk(settings: UblkSettings = {}): Ublk {
  try {
    return new Ublk(loadAddon(), machineReader, findDeviceIds, settings);
  } catch (cause) {
    throw new UblkError("addon_not_built", "the native engine (native/build/Release/ublk.node) cannot be loaded", {
      operation: "loadUblk",
      hint: 'run "make build"; on another Node.js, C library or machine than it was built on, build it there',
      cause,
    });
  }
}

function isInvisible({ code, step }: UblkError): boolean {
  return code === "device_missing" || (code === "permission_denied" && step === "GET_DEV_INFO");
}

async function findDeviceIds(): Promise<number[]> {
  const names = await readdir("/sys/class/ublk-char").catch(() => readdir("/dev"));
  return names
    .map((name) => /^ublkc(\d+)$/.exec(name)?.[1])
    .filter((id) => id !== undefined)
    .map(Number)
    .sort((a, b) => a - b);
}

function subjectOf({ deviceId, target }: NormalisedOptions) {
  const imagePath = findImagePath(target);
  const name = deviceId === undefined ? "a device" : toBlockDevicePath(deviceId);
  return { subject: `${name} over ${imagePath ?? target.kind}`, imagePath, deviceId };
}

function toNativeSpec(
  options: NormalisedOptions,
): Omit<NativeDeviceSpec, "sizeBytes" | "features" | "copies" | "recover"> {
  const { target, direct, deviceId, queueCount, queueDepth, maxIoBytes, logicalBlockSizeBytes } = options;
  const { readOnly, discard, ownerTag, unprivileged, limits, cpus } = options;
  const geometry = { queueCount, queueDepth, maxIoBytes, logicalBlockSizeBytes };
  return {
    ...geometry,
    readOnly,
    discard,
    ownerTag,
    unprivileged,
    limits,
    cpus,
    target: toNativeTarget(target, direct),
    deviceId: deviceId ?? -1,
  };
}

async function toRecoverySpec(info: DeviceInfo, target: Target, options: RecoverOptions): Promise<NativeDeviceSpec> {
  const { deviceId, sizeBytes, queueCount, queueDepth, maxIoBytes, logicalBlockSizeBytes, readOnly, ownerTag } = info;
  const geometry = { queueCount, queueDepth, maxIoBytes, logicalBlockSizeBytes, readOnly, ownerTag };
  const { direct = true, limits = {}, cpus = [] } = options;
  const checked = validateOptions({ target, sizeBytes }, { ...geometry, direct, limits, cpus }, "recoverAndServe");
  await resolveSize(checked, "recoverAndServe");
  const copies = toHandles(options.copies);
  return { ...toNativeSpec(checked), deviceId, sizeBytes, copies, recover: true, features: info.featureMask };
}

function toHandles(copies: readonly UblkImageCopy[] = []): CopyHandle[] {
  return copies.map(({ handle }) => handle);
}

function assertRemovable(info: DeviceInfo, force: boolean): void {
  if (info.state === "dead" || (force && info.state !== "live")) return;
  const isServed = info.state === "live";
  const reason = isServed ? `is served by process ${info.serverPid ?? "?"}` : `is ${info.state} and may hold I/O`;
  throw new UblkError("device_busy", `device ${info.deviceId} ${reason}`, {
    operation: "removeDevice",
    hint: isServed ? "stop it there" : "recover it with recoverAndServe, or use { force: true } to fail that I/O",
  });
}
