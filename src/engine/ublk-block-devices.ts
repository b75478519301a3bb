import { findDeviceUsers } from "../ublk/diagnosis/device-users.js";
import type { Ublk } from "../ublk/ublk.js";
import {
  type AdoptionEntry,
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
} from "./block-devices.js";
import { Adoption } from "./devices/adoption.js";
import { type BlockNodes, machineBlockNodes } from "./devices/block-nodes.js";
import { ChangeGate } from "./devices/change-gate.js";
import { DeviceMaker, type ServedDevice } from "./devices/device-maker.js";
import { DeviceRemoval } from "./devices/device-removal.js";
import { DeviceTuning, isFrozen } from "./devices/device-tuning.js";
import { specMismatch, toFields, toFoundDevice, toServedDevice, toServingFields } from "./devices/entry-views.js";
import { LettingGo } from "./devices/letting-go.js";
import { ServedDevices } from "./devices/served-devices.js";
import { type FindUsers, UsageGuard } from "./devices/usage-guard.js";
import { type Seen, unknownVolume, VolumeDevices } from "./devices/volume-devices.js";
import { defaultTimeouts, type EngineTimeouts } from "./engine-timeouts.js";
import { toBlockDeviceError } from "./failure.js";
import { ImageCopies } from "./image-copies.js";
import type { CopyRecords } from "./journal/copy-records.js";
import { findImageChange } from "./journal/image-identity.js";
import type { Journal } from "./journal/journal.js";
import { type JournalEntry, matchesSpec } from "./journal/journal-entry.js";
import type { EngineLogger } from "./logger.js";
import { type Match, matchDevice, readKernelView } from "./reconciliation/kernel-view.js";
import { logOutcome } from "./reconciliation/reconciliation-log.js";
import { type PlanRow, planReconciliation } from "./reconciliation/reconciliation-plan.js";

/** What {@link UblkBlockDevices} is made of; the optional parts are for tests. */
export interface UblkBlockDevicesParts {
  ublk: Ublk;
  journal: Journal;
  copies: CopyRecords;
  logger: EngineLogger;
  nodes?: BlockNodes;
  findUsers?: FindUsers;
  timeouts?: Partial<EngineTimeouts>;
}

/** Serves the volumes' devices in this very process, and remembers them in the journal. */
export class UblkBlockDevices implements BlockDevices {
  private readonly served: ServedDevices;
  private readonly changes: ChangeGate;
  private readonly maker: DeviceMaker;
  private readonly tuning: DeviceTuning;
  private readonly volumes: VolumeDevices;
  private readonly removal: DeviceRemoval;
  private readonly copies: ImageCopies;
  /** Starts of copies that are under way or wait for their turn, by the ids of their copies. */
  private readonly copyStarts = new Map<string, Promise<void>>();
  private readonly lettingGo: LettingGo;

  constructor(private readonly parts: UblkBlockDevicesParts) {
    const { ublk, journal, logger, nodes = machineBlockNodes, findUsers = findDeviceUsers } = parts;
    const timeouts = { ...defaultTimeouts, ...parts.timeouts };
    this.lettingGo = new LettingGo(timeouts.releaseMs);
    this.changes = new ChangeGate(logger, timeouts.changesMs);
    this.served = new ServedDevices(logger);
    const copies = new ImageCopies({ ublk, records: parts.copies, logger });
    this.copies = copies;
    const { served } = this;
    const adoption = new Adoption({ ublk, journal, copies, oldServerTimeoutMs: timeouts.oldServerMs });
    this.volumes = new VolumeDevices({ ublk, journal, adoption, served, logger });
    const guard = new UsageGuard(findUsers, timeouts.claimMs);
    this.removal = new DeviceRemoval({ ublk, journal, served, guard, logger, endMs: timeouts.changesMs });
    this.maker = new DeviceMaker({ ublk, journal, copies, logger, nodes, nodeTimeoutMs: timeouts.nodeMs });
    this.tuning = new DeviceTuning(ublk, journal);
  }

  async attach(spec: BlockDeviceSpec): Promise<BlockDevice> {
    return await this.exclusively(spec.volumeId, async () => {
      const known = await this.volumes.find(spec.volumeId);
      if (known) return await this.confirm(known, spec);
      const made = await this.maker.make(spec);
      this.served.add(made, "attached");
      this.parts.logger.info(toServingFields(made), "device attached");
      return toServedDevice(made);
    });
  }

  async detach(volumeId: string): Promise<void> {
    await this.exclusively(volumeId, async () => {
      const entry = await this.parts.journal.read(volumeId);
      if (!entry) return await this.parts.journal.removeUnwritten(volumeId);
      await this.removal.remove(entry, await this.volumes.match(entry));
      this.parts.logger.info(toFields(entry), "device detached");
      this.served.events.emit({ kind: "detached", volumeId, deviceId: entry.deviceId ?? -1 });
    });
  }

  async find(volumeId: string): Promise<BlockDevice | undefined> {
    return await this.converted(volumeId, async () => {
      const entry = await this.parts.journal.read(volumeId);
      return entry && toFoundDevice(entry, await this.volumes.match(entry), this.served.get(volumeId));
    });
  }

  async list(): Promise<BlockDevice[]> {
    const { entries } = await this.parts.journal.readAll();
    const view = await readKernelView(this.parts.ublk);
    const devices = entries.map((entry) => this.toListedDevice(entry, matchDevice(entry, view)));
    return devices.filter((device) => device !== undefined);
  }

  async listVolumeIds(): Promise<string[]> {
    const { entries, problems } = await this.parts.journal.readAll();
    return [...entries, ...problems].map(({ volumeId }) => volumeId);
  }

  async resize(volumeId: string, sizeBytes: bigint): Promise<BlockDevice> {
    return await this.exclusively(volumeId, async () => {
      const served = await this.volumes.require(volumeId);
      if (await this.tuning.resize(served, sizeBytes)) {
        const { deviceId } = served.device;
        this.served.events.emit({ kind: "resized", volumeId, deviceId, sizeBytes });
        this.parts.logger.info({ ...toFields(served.entry), sizeBytes: String(sizeBytes) }, "device resized");
      }
      return toServedDevice(served);
    });
  }

  async setLimits(volumeId: string, limits: BlockDeviceLimits): Promise<void> {
    await this.exclusively(volumeId, async () => {
      await this.tuning.setLimits(await this.volumes.require(volumeId), limits);
      this.parts.logger.info({ volumeId, limits }, "limits set");
    });
  }

  async freeze(volumeIds: readonly string[], { deadlineMs }: { deadlineMs: number }): Promise<FreezeToken> {
    return await this.exclusivelyAll(volumeIds, (group) => this.tuning.freeze(group, deadlineMs));
  }

  async thaw(volumeIds: readonly string[], token: FreezeToken): Promise<void> {
    await this.exclusivelyAll(volumeIds, (group) => this.tuning.thaw(group, token));
  }

  async startCopies(specs: readonly ImageCopySpec[], { deadlineMs }: { deadlineMs: number }): Promise<void> {
    const volumeIds = specs.map(({ volumeId }) => volumeId);
    const start = this.exclusivelyEach(volumeIds, async () => {
      const served = new Map<string, ServedDevice>();
      for (const volumeId of volumeIds) {
        const device = await this.volumes.find(volumeId);
        if (device) served.set(volumeId, device);
      }
      await this.copies.start(specs, served, deadlineMs);
    });
    for (const { copyId } of specs) this.copyStarts.set(copyId, start);
    try {
      await start;
    } finally {
      for (const { copyId } of specs) if (this.copyStarts.get(copyId) === start) this.copyStarts.delete(copyId);
    }
  }

  async findCopy(copyId: string): Promise<ImageCopy | undefined> {
    this.changes.assertOpen();
    return await this.converted(copyId, () => this.copies.find(copyId));
  }

  async endCopy(copyId: string): Promise<void> {
    // A caller that waits no longer for a start ends what that start is about to begin.
    await this.copyStarts.get(copyId)?.catch(() => undefined);
    this.changes.assertOpen();
    const volumeId = await this.converted(copyId, () => this.copies.findVolume(copyId));
    if (volumeId !== undefined) await this.exclusively(volumeId, () => this.copies.end(copyId));
  }

  async capabilities(): Promise<BlockDeviceCapabilities> {
    const features = await this.parts.ublk.getFeatures();
    return { onlineResize: features.some(({ name }) => name === "UPDATE_SIZE") };
  }

  async stats(volumeId: string): Promise<BlockDeviceStats> {
    return await this.converted(volumeId, async () => {
      const served = this.served.get(volumeId);
      if (served) return served.device.stats();
      const entry = await this.parts.journal.read(volumeId);
      if (!entry) throw unknownVolume(volumeId);
      throw new BlockDeviceError("unavailable", `the device of volume ${volumeId} is not served: adopt or detach it`);
    });
  }

  onEvent(listener: BlockDeviceListener): () => void {
    return this.served.events.add(listener);
  }

  async adopt(): Promise<AdoptionReport> {
    const contents = await this.parts.journal.readAll();
    const view = await readKernelView(this.parts.ublk);
    const unreadable: AdoptionEntry[] = contents.problems.map((problem) => ({ ...problem, action: "failed" }));
    const reconciled = await Promise.all(
      contents.entries.map((entry) => this.adoptOne(entry.volumeId, { entry, view })),
    );
    const report = { entries: [...unreadable, ...reconciled] };
    // I/O waits no more: now there is time for words, and for what can be done beside it.
    await this.goOnCopying();
    logOutcome(this.parts.logger, await planReconciliation(contents, view), report.entries, (volumeId) => {
      const served = this.served.get(volumeId);
      return served && toServingFields(served);
    });
    return report;
  }

  async close(): Promise<void> {
    await this.changes.end();
    await this.removal.endEach(async (served) => this.removal.close(served, await this.volumes.match(served.entry)));
    await this.copies.leave(() => true);
  }

  /** Ends serving without removing any device, used or not: I/O waits for the next engine. */
  async leave(): Promise<void> {
    await this.changes.end();
    await this.removal.endEach(({ device }) => device.release());
    await this.copies.leave(() => true);
  }

  /**
   * Begins a hand-over: finishes what is going on and refuses further changes until `takeBack`. Returns the volumes whose
   * devices are served here. Fails with `frozen`, and changes nothing, while a device is: nobody could tell the next engine.
   */
  async suspend(): Promise<string[]> {
    await this.changes.close("the engine is handing over");
    const frozen = this.served.all().filter(isFrozen);
    if (frozen.length === 0) {
      await this.copies.leave((volumeId) => this.served.get(volumeId) === undefined);
      return this.served.all().map(({ entry }) => entry.volumeId);
    }
    this.changes.open();
    throw new BlockDeviceError(
      "frozen",
      `volume ${frozen[0]?.entry.volumeId} is frozen: hand over after it has thawed`,
    );
  }

  /** During a hand-over: lets go of one device, whose I/O waits from here on. */
  async release(volumeId: string): Promise<void> {
    const served = this.served.get(volumeId);
    if (!served) throw unknownVolume(volumeId);
    await this.converted(volumeId, () => this.lettingGo.letGo(served, () => this.served.remove(served)));
    await this.copies.leave((left) => left === volumeId);
  }

  /**
   * Ends a hand-over that failed: serves again what was let go, and accepts changes. A device that is still about to let go
   * is taken back when it has. Refused while the engine shuts down.
   */
  async takeBack(): Promise<AdoptionReport> {
    this.changes.assertNotEnding();
    this.changes.open();
    this.lettingGo.afterwards((volumeId) => this.adoptOne(volumeId));
    return await this.adopt();
  }

  /** Takes one device of the journal, when its server has let go of it. */
  async recover(volumeId: string): Promise<AdoptionEntry> {
    const report = await this.adoptOne(volumeId);
    const served = this.served.get(volumeId);
    if (served) this.parts.logger.info(toServingFields(served), "device taken over");
    return report;
  }

  /** Takes up the copies that another engine has left; those of devices are taken up with them. */
  async goOnCopying(): Promise<void> {
    await this.copies.resumeAll().catch((error: unknown) => {
      this.parts.logger.error({ err: error }, "not every copy of an image can be gone on with");
    });
  }

  /** What start-up would do now. It changes nothing. */
  async plan(): Promise<PlanRow[]> {
    const contents = await this.parts.journal.readAll();
    return await planReconciliation(contents, await readKernelView(this.parts.ublk));
  }

  private async exclusively<T>(volumeId: string, action: () => Promise<T>): Promise<T> {
    return await this.converted(volumeId, () => this.changes.run(volumeId, action));
  }

  /** The devices of a group with nothing else going on with any of them. */
  private async exclusivelyAll<T>(
    volumeIds: readonly string[],
    action: (group: ServedDevice[]) => Promise<T>,
  ): Promise<T> {
    return await this.exclusivelyEach(volumeIds, async (ids) => {
      const group: ServedDevice[] = [];
      for (const volumeId of ids) group.push(await this.volumes.require(volumeId));
      return await action(group);
    });
  }

  /** With nothing else going on with any of these volumes. In one order for everyone: two groups never wait for each other. */
  private async exclusivelyEach<T>(
    volumeIds: readonly string[],
    action: (volumeIds: readonly string[]) => Promise<T>,
  ): Promise<T> {
    const sorted = [...new Set(volumeIds)].sort();
    const inside = sorted.reduceRight<() => Promise<T>>(
      (next, volumeId) => () => this.exclusively(volumeId, next),
      () => action(sorted),
    );
    return await inside();
  }

  private async converted<T>(volumeId: string, action: () => Promise<T>): Promise<T> {
    try {
      return await action();
    } catch (error) {
      throw toBlockDeviceError(error, volumeId);
    }
  }

  /** One that cannot be told must not hide the others. */
  private toListedDevice(entry: JournalEntry, match: Match): BlockDevice | undefined {
    if (match.kind !== "mismatch") return toFoundDevice(entry, match, this.served.get(entry.volumeId));
    this.parts.logger.error({ ...toFields(entry), reason: match.reason }, "device not listed");
    return undefined;
  }

  private async adoptOne(volumeId: string, seen?: Seen): Promise<AdoptionEntry> {
    try {
      return await this.exclusively(volumeId, () => this.volumes.adopt(volumeId, seen));
    } catch (error) {
      return { volumeId, action: "failed", reason: error instanceof Error ? error.message : String(error) };
    }
  }

  private async confirm(served: ServedDevice, spec: BlockDeviceSpec): Promise<BlockDevice> {
    const { entry } = served;
    if (!matchesSpec(entry, spec)) throw specMismatch(entry);
    const change = await findImageChange(entry);
    if (change) throw new BlockDeviceError("spec_mismatch", `volume ${entry.volumeId}: ${change}`);
    return toServedDevice(served);
  }
}
