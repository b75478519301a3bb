import { type DeviceUser, describeUsers, findDeviceUsers } from "../ublk/device-users.js";
import type { DeviceEvent, DeviceInfo } from "../ublk/index.js";
import type { Ublk } from "../ublk/ublk.js";
import { Adoption, defaultOldServerTimeoutMs } from "./adoption.js";
import {
  type AdoptionEntry,
  type AdoptionReport,
  type BlockDevice,
  BlockDeviceError,
  type BlockDeviceSpec,
  type BlockDevices,
} from "./block-devices.js";
import { type BlockNodes, machineBlockNodes, waitFor } from "./block-nodes.js";
import { DeviceMaker, type ServedDevice } from "./device-maker.js";
import { toBlockDeviceError } from "./failure.js";
import { findImageChange } from "./image-identity.js";
import { IoErrorLog } from "./io-error-log.js";
import type { Journal } from "./journal.js";
import { type JournalEntry, matchesSpec } from "./journal-entry.js";
import { type KernelView, type Match, matchDevice, readKernelView, readViewOfOne } from "./kernel-view.js";
import { KeyedMutex } from "./keyed-mutex.js";
import type { EngineLogger } from "./logger.js";

/** What {@link UblkBlockDevices} is made of; the optional parts are for tests. */
export interface UblkBlockDevicesParts {
  ublk: Ublk;
  journal: Journal;
  logger: EngineLogger;
  nodes?: BlockNodes;
  findUsers?: (deviceId: number, isLive: boolean) => Promise<DeviceUser[]>;
  timeouts?: Partial<EngineTimeouts>;
}

export interface EngineTimeouts {
  /** For a new block device node to show its size. */
  nodeMs: number;
  /** For a short open, such as udev's or mkfs's, to end. */
  claimMs: number;
  /** For an old server to let go of its devices. */
  oldServerMs: number;
}

/** Serves the volumes' devices in this very process, and remembers them in the journal. */
export class UblkBlockDevices implements BlockDevices {
  private readonly served = new Map<string, ServedDevice>();
  private readonly mutex = new KeyedMutex();
  private readonly adoption: Adoption;
  private readonly maker: DeviceMaker;
  private readonly timeouts: EngineTimeouts;
  private readonly findUsers: (deviceId: number, isLive: boolean) => Promise<DeviceUser[]>;
  private isClosing = false;

  constructor(private readonly parts: UblkBlockDevicesParts) {
    const { ublk, journal, logger, nodes = machineBlockNodes } = parts;
    this.timeouts = { nodeMs: 10_000, claimMs: 2_000, oldServerMs: defaultOldServerTimeoutMs, ...parts.timeouts };
    this.findUsers = parts.findUsers ?? findDeviceUsers;
    this.adoption = new Adoption(ublk, journal, this.timeouts.oldServerMs);
    this.maker = new DeviceMaker({ ublk, journal, logger, nodes, nodeTimeoutMs: this.timeouts.nodeMs });
  }

  async attach(spec: BlockDeviceSpec): Promise<BlockDevice> {
    return await this.exclusively(spec.volumeId, async () => {
      const known = (await this.findServed(spec.volumeId)) ?? (await this.takeBack(spec.volumeId));
      if (known) return await this.confirm(known, spec);
      const made = await this.maker.make(spec);
      this.watch(made);
      const { volumeId, deviceId } = toFields(made.entry);
      this.parts.logger.info({ volumeId, deviceId, features: made.entry.features }, "device attached");
      return toBlockDevice(made.entry, "live");
    });
  }

  async detach(volumeId: string): Promise<void> {
    await this.exclusively(volumeId, async () => {
      const entry = await this.parts.journal.read(volumeId);
      if (!entry) return;
      const match = await this.match(entry);
      if (match.kind === "mismatch") throw new BlockDeviceError("internal", `volume ${volumeId}: ${match.reason}`);
      if (match.kind === "found") await this.removeDevice(entry, match.info);
      await this.forget(entry);
      this.parts.logger.info(toFields(entry), "device detached");
    });
  }

  async find(volumeId: string): Promise<BlockDevice | undefined> {
    return await this.converted(volumeId, async () => {
      const entry = await this.parts.journal.read(volumeId);
      return entry && toFoundDevice(entry, await this.match(entry));
    });
  }

  async list(): Promise<BlockDevice[]> {
    const { entries } = await this.parts.journal.readAll();
    const view = await readKernelView(this.parts.ublk);
    const devices = entries.map((entry) => toFoundDevice(entry, matchDevice(entry, view)));
    return devices.filter((device) => device !== undefined);
  }

  async adopt(): Promise<AdoptionReport> {
    const { entries, problems } = await this.parts.journal.readAll();
    const unreadable: AdoptionEntry[] = problems.map((problem) => ({ ...problem, action: "failed" }));
    const reconciled = await Promise.all(entries.map(({ volumeId }) => this.adoptOne(volumeId)));
    const report = { entries: [...unreadable, ...reconciled] };
    for (const { reason, ...fields } of report.entries) {
      this.parts.logger[fields.action === "failed" ? "error" : "info"](fields, `start-up: ${reason}`);
    }
    return report;
  }

  async close(): Promise<void> {
    this.isClosing = true;
    await this.mutex.drain();
    await Promise.all([...this.served.values()].map((served) => this.closeOne(served)));
  }

  /** Ends serving without removing any device, used or not: I/O waits for the next engine. */
  async leave(): Promise<void> {
    this.isClosing = true;
    await this.mutex.drain();
    await Promise.all([...this.served.values()].map((served) => this.leaveOne(served)));
  }

  private async exclusively<T>(volumeId: string, action: () => Promise<T>): Promise<T> {
    if (this.isClosing) throw new BlockDeviceError("unavailable", "the engine is shutting down: try again later");
    return await this.mutex.run(volumeId, () => this.converted(volumeId, action));
  }

  private async converted<T>(volumeId: string, action: () => Promise<T>): Promise<T> {
    try {
      return await action();
    } catch (error) {
      throw toBlockDeviceError(error, volumeId);
    }
  }

  /** The device this process serves for the volume, unless somebody has stopped it behind our back. */
  private async findServed(volumeId: string): Promise<ServedDevice | undefined> {
    const served = this.served.get(volumeId);
    if (!served) return undefined;
    const match = await this.match(served.entry);
    if (match.kind === "mismatch") throw new BlockDeviceError("internal", `volume ${volumeId}: ${match.reason}`);
    if (match.kind === "found" && match.info.state === "live" && served.device.state === "open") return served;
    await this.drop(served);
    return undefined;
  }

  /** Settles a journal entry whose device nobody serves here; returns the device if that brought it back. */
  private async takeBack(volumeId: string): Promise<ServedDevice | undefined> {
    const entry = await this.parts.journal.read(volumeId);
    if (!entry) return undefined;
    const { report, adopted } = await this.adoption.reconcile(entry);
    if (report.action === "failed") throw new BlockDeviceError("unavailable", `volume ${volumeId}: ${report.reason}`);
    if (adopted) this.watch(adopted);
    return adopted;
  }

  private async adoptOne(volumeId: string): Promise<AdoptionEntry> {
    try {
      return await this.exclusively(volumeId, async () => {
        const served = this.served.get(volumeId);
        if (served) return { ...toFields(served.entry), action: "kept", reason: "this process serves it already" };
        const entry = await this.parts.journal.read(volumeId);
        if (!entry) return { volumeId, action: "removed", reason: "it was detached meanwhile" };
        const { report, adopted } = await this.adoption.reconcile(entry);
        if (adopted) this.watch(adopted);
        return report;
      });
    } catch (error) {
      return { volumeId, action: "failed", reason: error instanceof Error ? error.message : String(error) };
    }
  }

  private async confirm({ entry }: ServedDevice, spec: BlockDeviceSpec): Promise<BlockDevice> {
    if (!matchesSpec(entry, spec)) throw specMismatch(entry);
    const change = await findImageChange(entry);
    if (change) throw new BlockDeviceError("spec_mismatch", `volume ${entry.volumeId}: ${change}`);
    return toBlockDevice(entry, "live");
  }

  private async removeDevice(entry: JournalEntry, info: DeviceInfo): Promise<void> {
    const served = this.served.get(entry.volumeId);
    if (!served && info.state === "live") {
      const server = `process ${info.serverPid ?? "?"}`;
      throw new BlockDeviceError("unavailable", `${info.path} is served by ${server}: stop that process first`);
    }
    await this.assertUnused(info);
    if (served) await served.device.stop();
    else await this.parts.ublk.removeDevice(info.deviceId, { force: true });
  }

  private async assertUnused({ deviceId, path, state }: DeviceInfo): Promise<void> {
    if (state === "dead") return;
    let users: DeviceUser[] = [];
    const isDecided = async () => {
      users = await this.findUsers(deviceId, state === "live");
      return users.every(({ kind }) => kind !== "exclusive" && kind !== "process");
    };
    await waitFor(isDecided, { timeoutMs: this.timeouts.claimMs });
    if (users.length === 0) return;
    throw new BlockDeviceError("in_use", `${path} is in use by ${describeUsers(users)}: unmount or close it first`);
  }

  private async forget(entry: JournalEntry): Promise<void> {
    const served = this.served.get(entry.volumeId);
    if (served) await this.drop(served);
    await this.parts.journal.remove(entry.volumeId);
  }

  /** Frees what this process still has of a device that is no more. The journal keeps its entry. */
  private async drop(served: ServedDevice): Promise<void> {
    if (this.served.get(served.entry.volumeId) === served) this.served.delete(served.entry.volumeId);
    if (served.device.state === "stopped") return;
    await served.device.stop().catch((error: unknown) => {
      this.parts.logger.warn({ ...toFields(served.entry), err: error }, "the rest of a stopped device cannot be freed");
    });
  }

  private watch(served: ServedDevice): void {
    const fields = toFields(served.entry);
    const errors = new IoErrorLog(this.parts.logger, fields);
    this.served.set(served.entry.volumeId, served);
    served.device.onEvent((event: DeviceEvent) => {
      if (event.kind === "io-error") errors.add(event);
      else if (event.kind === "stopped") this.parts.logger.warn(fields, "somebody else stopped the device");
    });
  }

  private async closeOne(served: ServedDevice): Promise<void> {
    const { entry, device } = served;
    try {
      const match = await this.match(entry);
      const mustStay = match.kind === "mismatch" || (match.kind === "found" && (await this.isUsed(match.info)));
      if (mustStay) await device.release();
      else {
        await device.stop();
        await this.parts.journal.remove(entry.volumeId);
      }
      this.served.delete(entry.volumeId);
    } catch (error) {
      this.parts.logger.error({ ...toFields(entry), err: error }, "the device cannot be closed in good order");
    }
  }

  private async leaveOne({ entry, device }: ServedDevice): Promise<void> {
    try {
      await device.release();
      this.served.delete(entry.volumeId);
    } catch (error) {
      this.parts.logger.error({ ...toFields(entry), err: error }, "the device cannot be left in good order");
    }
  }

  private async isUsed(info: DeviceInfo): Promise<boolean> {
    return await this.assertUnused(info).then(
      () => false,
      () => true,
    );
  }

  private async match(entry: JournalEntry): Promise<Match> {
    return matchDevice(entry, await this.viewFor(entry));
  }

  private async viewFor({ deviceId }: JournalEntry): Promise<KernelView> {
    const { ublk } = this.parts;
    return deviceId === undefined ? await readKernelView(ublk) : await readViewOfOne(ublk, deviceId);
  }
}

function toFields({ volumeId, deviceId }: JournalEntry): { volumeId: string; deviceId?: number } {
  return { volumeId, ...(deviceId !== undefined && { deviceId }) };
}

function toFoundDevice(entry: JournalEntry, match: Match): BlockDevice | undefined {
  if (match.kind === "mismatch") throw new BlockDeviceError("internal", `volume ${entry.volumeId}: ${match.reason}`);
  if (match.kind === "gone" || entry.state === "adding") return undefined;
  const { state } = match.info;
  return toBlockDevice(entry, state === "fail-io" ? "quiesced" : state);
}

function toBlockDevice(entry: JournalEntry, state: BlockDevice["state"]): BlockDevice {
  const { volumeId, deviceId = -1, sizeBytes, readOnly } = entry;
  return { volumeId, deviceId, path: `/dev/ublkb${deviceId}`, sizeBytes, readOnly, state };
}

function specMismatch(entry: JournalEntry): BlockDeviceError {
  const { volumeId, image, sizeBytes, readOnly, logicalBlockSizeBytes } = entry;
  const has = `${image.path}, ${sizeBytes} bytes, ${readOnly ? "read-only" : "writable"}, blocks of ${logicalBlockSizeBytes}`;
  return new BlockDeviceError(
    "spec_mismatch",
    `volume ${volumeId} has a device over ${has}: detach it before it is attached otherwise`,
  );
}
