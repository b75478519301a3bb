import { mkdtemp, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { NativeLimits } from "../../ublk/addon.js";
import type { DeviceUser } from "../../ublk/diagnosis/device-users.js";
import { FakeAddon } from "../../ublk/testing/fake-addon.js";
import { deviceStates, FakeKernel } from "../../ublk/testing/fake-kernel.js";
import { reader } from "../../ublk/testing/fake-machine.js";
import { Ublk } from "../../ublk/ublk.js";
import type { BlockDeviceLimits, BlockDeviceSpec } from "../block-devices.js";
import type { EngineTimeouts } from "../engine-timeouts.js";
import { CopyRecords } from "../journal/copy-records.js";
import { FileJournal, type Journal } from "../journal/journal.js";
import { UblkBlockDevices } from "../ublk-block-devices.js";

/** A line that the engine logged. */
export interface LogLine {
  level: "info" | "warn" | "error";
  message: string;
  fields: Record<string, unknown>;
}

/** A node with real files and a fake kernel, on which engines start and die. */
export class FakeNode {
  readonly kernel = new FakeKernel();
  readonly users = new Map<number, DeviceUser[]>();
  /** What sysfs shows as a device's size, where it is not the kernel's. */
  readonly shownSizes = new Map<number, bigint>();
  readonly log: LogLine[] = [];
  addon = new FakeAddon(this.kernel, 1000);

  private constructor(readonly folder: string) {}

  static async create(): Promise<FakeNode> {
    return new FakeNode(await mkdtemp(join(tmpdir(), "ublk-engine-")));
  }

  get journalFolder(): string {
    return join(this.folder, "devices");
  }

  /** The process that runs the engine; `wrap` may stand between it and the journal. */
  startEngine(
    wrap: (journal: Journal) => Journal = (journal) => journal,
    timeouts: Partial<EngineTimeouts> = {},
  ): UblkBlockDevices {
    this.addon = new FakeAddon(this.kernel, this.addon.pid + 1);
    return new UblkBlockDevices({
      ublk: new Ublk(this.addon, reader(), async () => this.kernel.deviceIds()),
      copies: new CopyRecords(join(this.folder, "copies")),
      journal: wrap(new FileJournal(this.journalFolder)),
      logger: this.logger(),
      nodes: { readSizeBytes: async (deviceId) => this.readSizeBytes(deviceId) },
      findUsers: async (deviceId) => this.users.get(deviceId) ?? [],
      timeouts: { nodeMs: 50, claimMs: 30, oldServerMs: 50, ...timeouts },
    });
  }

  /** The next engine, after the one before was killed. */
  restartAfterKill(): UblkBlockDevices {
    this.addon.kill();
    return this.startEngine();
  }

  async createImage(name: string, sizeBytes: number): Promise<string> {
    const path = join(this.folder, name);
    await writeFile(path, "");
    await truncate(path, sizeBytes);
    return path;
  }

  /** What the journal says of a volume's limits, and the device was last given. */
  async readLimits(volumeId: string): Promise<BlockDeviceLimits> {
    const entry = await new FileJournal(this.journalFolder).read(volumeId);
    const given = this.addon.limitsOf(entry?.deviceId ?? -1);
    if (entry === undefined || given === undefined) throw new Error(`no device of volume ${volumeId} is served`);
    expectSameLimits(given, entry.limits);
    return entry.limits;
  }

  async destroy(): Promise<void> {
    // An engine that a test has killed may be writing its last journal entry.
    await rm(this.folder, { recursive: true, force: true, maxRetries: 5 });
  }

  private readSizeBytes(deviceId: number): bigint | undefined {
    const device = this.kernel.devices.get(deviceId);
    if (device?.state !== deviceStates.live) return undefined;
    return this.shownSizes.get(deviceId) ?? device.sizeBytes;
  }

  private logger() {
    const at = (level: LogLine["level"]) => (fields: object, message: string) =>
      void this.log.push({ level, message, fields: { ...fields } });
    return { info: at("info"), warn: at("warn"), error: at("error") };
  }
}

/** A writable file volume with the defaults of a StorageClass. */
export function toSpec(volumeId: string, path: string, sizeBytes: number): BlockDeviceSpec {
  const geometry = { sizeBytes: BigInt(sizeBytes), logicalBlockSizeBytes: 512 };
  return { volumeId, image: { kind: "file", path }, ...geometry, readOnly: false, discard: false };
}

/** Native code has 0 where there is no limit. */
function expectSameLimits(given: NativeLimits, expected: BlockDeviceLimits): void {
  for (const [name, value] of Object.entries(given)) {
    const wanted = expected[name as keyof BlockDeviceLimits] ?? (name === "burstMs" ? value : 0);
    if (value !== wanted) throw new Error(`the device has ${name} ${value}; the journal says ${wanted}`);
  }
}
