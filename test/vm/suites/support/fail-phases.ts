import {
  ControllerModifyVolumeRequest,
  ControllerService,
  DeleteVolumeRequest,
  type Snapshot,
  type VolumeGroupSnapshot,
} from "../../../../src/gen/csi/csi.js";
import { InlineVolume } from "./inline-volume.js";
import { SnapshotCalls } from "./snapshot-calls.js";
import type { TestBed } from "./test-bed.js";
import type { TestVolume, VolumeWish } from "./test-volume.js";

/** Known before there is a driver. */
export const failPhaseNames = [
  "CreateVolume",
  "DeleteVolume",
  "ControllerExpandVolume, in use",
  "NodeExpandVolume",
  "ControllerModifyVolume, in use",
  "CreateVolume from a volume in use, sharing its blocks",
  "CreateVolume from a volume in use, to another pool",
  "CreateSnapshot, sharing blocks",
  "CreateSnapshot, by a copy",
  "DeleteSnapshot",
  "CreateVolumeGroupSnapshot",
  "DeleteVolumeGroupSnapshot",
  "NodeStageVolume",
  "NodeStageVolume, encrypted",
  "NodeUnstageVolume",
  "NodePublishVolume",
  "NodePublishVolume, raw block",
  "NodeUnpublishVolume",
  "NodePublishVolume, inline",
  "NodeUnpublishVolume, inline",
] as const;
export type FailPhaseName = (typeof failPhaseNames)[number];

/** One mutating RPC, and how to come to it and back. */
export interface FailPhase {
  name: FailPhaseName;
  /** Makes what the call works on. */
  prepare?: () => Promise<unknown>;
  /** The call itself; repeated after the driver died of it. */
  act: () => Promise<unknown>;
  /** Removes everything. */
  undo: () => Promise<unknown>;
  /** Steps that it has for sure: were they not counted, the suite would prove nothing. */
  steps: string[];
}

const mebibyte = 1024 ** 2;
const fileSystem = { kind: "mount", fsType: "ext4" } as const;

/** Every RPC that changes something, on volumes of one bed. */
export class FailPhases {
  private readonly calls: SnapshotCalls;

  constructor(private readonly bed: TestBed) {
    this.calls = new SnapshotCalls(() => bed.driver.client);
  }

  find(name: FailPhaseName): FailPhase {
    const phase = this.all().find((each) => each.name === name);
    if (phase === undefined) throw new Error(`there is no phase ${name}`);
    return phase;
  }

  private all(): FailPhase[] {
    return [
      ...this.ofVolumes(),
      ...this.ofCopies(),
      ...this.ofSnapshots(),
      ...this.ofNode(),
      ...this.ofInlineVolumes(),
    ];
  }

  private volume(name: string, more: Partial<VolumeWish> = {}): TestVolume {
    return this.bed.volume({ name, sizeBytes: 16 * mebibyte, access: fileSystem, ...more });
  }

  private async deleteVolume(volumeId: string): Promise<void> {
    const request = DeleteVolumeRequest.fromPartial({ volumeId });
    await this.bed.driver.client.call(ControllerService.deleteVolume, request);
  }

  private async modify(volumeId: string): Promise<void> {
    const request = ControllerModifyVolumeRequest.fromPartial({ volumeId, mutableParameters: { iops: "5000" } });
    await this.bed.driver.client.call(ControllerService.controllerModifyVolume, request);
  }

  private ofVolumes(): FailPhase[] {
    const volume = this.volume("plain");
    return [
      {
        name: "CreateVolume",
        act: () => volume.create(),
        undo: () => volume.delete(),
        steps: ["end fallocate", "rename volume.json"],
      },
      {
        name: "DeleteVolume",
        prepare: () => volume.create(),
        act: () => this.deleteVolume(volume.id),
        undo: () => volume.delete(),
        steps: ["rename unfinished", "rm image"],
      },
      {
        name: "ControllerExpandVolume, in use",
        prepare: () => volume.start(),
        act: () => volume.expand(24 * mebibyte),
        undo: () => volume.finish(),
        steps: ["end fallocate", "resizeDevice"],
      },
      {
        name: "NodeExpandVolume",
        prepare: async () => {
          await volume.start();
          await volume.expand(24 * mebibyte);
        },
        act: () => volume.expandOnNode(24 * mebibyte),
        undo: () => volume.finish(),
        steps: ["end resize2fs"],
      },
      {
        name: "ControllerModifyVolume, in use",
        prepare: () => volume.start(),
        act: () => this.modify(volume.id),
        undo: () => volume.finish(),
        steps: ["rename volume.json", "setLimits"],
      },
    ];
  }

  private ofCopies(): FailPhase[] {
    const source = this.volume("source");
    const type = () => ({ $case: "volume", value: { volumeId: source.id } }) as const;
    const copyIn = (name: "sharing its blocks" | "to another pool", pool: string): FailPhase => {
      const made: { copy?: TestVolume } = {};
      return {
        name: `CreateVolume from a volume in use, ${name}`,
        prepare: async () => {
          await source.start();
          made.copy = this.volume("copy", { contentSource: { type: type() }, parameters: { pool } });
        },
        act: async () => await made.copy?.create(),
        undo: async () => {
          await made.copy?.delete();
          await source.finish();
        },
        steps: pool === "disk" ? ["freezeDevices", "cloneFile", "thawDevices"] : ["createCopy", "startCopies"],
      };
    };
    return [copyIn("sharing its blocks", "disk"), copyIn("to another pool", "memory")];
  }

  private ofSnapshots(): FailPhase[] {
    const [disk, memory] = [this.volume("on-disk"), this.volume("in-memory", { parameters: { pool: "memory" } })];
    const found: { snapshot?: Snapshot; group?: VolumeGroupSnapshot } = {};
    const take = async ({ id }: TestVolume) => {
      found.snapshot = await this.calls.createReady("snap", id);
    };
    const drop = async () => await this.calls.delete(found.snapshot?.snapshotId ?? "");
    const takeGroup = async () => {
      found.group = await this.calls.createGroup("group", [disk.id, memory.id]);
      for (const { snapshotId } of found.group.snapshots) await this.calls.whenReady(snapshotId);
    };
    const dropGroup = async () => found.group && (await this.calls.deleteGroup(found.group));
    const start = async () => {
      await disk.start();
      await memory.start();
    };
    const finish = async () => {
      await disk.finish();
      await memory.finish();
    };
    return [
      {
        name: "CreateSnapshot, sharing blocks",
        prepare: () => disk.start(),
        act: () => take(disk),
        undo: async () => {
          await drop();
          await disk.finish();
        },
        steps: ["freezeDevices", "cloneFile", "rename snapshot.json"],
      },
      {
        name: "CreateSnapshot, by a copy",
        prepare: () => memory.start(),
        act: () => take(memory),
        undo: async () => {
          await drop();
          await memory.finish();
        },
        steps: ["createCopy", "startCopies", "rename snapshot.json"],
      },
      {
        name: "DeleteSnapshot",
        prepare: async () => {
          await disk.create();
          await take(disk);
        },
        act: drop,
        undo: () => disk.finish(),
        steps: ["rename unfinished", "rm image"],
      },
      {
        name: "CreateVolumeGroupSnapshot",
        prepare: start,
        act: takeGroup,
        undo: async () => {
          await dropGroup();
          await finish();
        },
        steps: ["startCopies", "rename snapshot.json"],
      },
      {
        name: "DeleteVolumeGroupSnapshot",
        prepare: async () => {
          await disk.create();
          await memory.create();
          await takeGroup();
        },
        act: dropGroup,
        undo: finish,
        steps: ["rename unfinished", "rm image"],
      },
    ];
  }

  private ofNode(): FailPhase[] {
    const volume = this.volume("used", { parameters: { provisioning: "thin" } });
    const raw = this.volume("raw", { access: { kind: "block" } });
    const encryption = { encryption: "luks2", encryptionMemory: "32Mi" };
    const secrets = { passphrase: "correct horse battery staple" };
    const secret = this.volume("secret", { sizeBytes: 48 * mebibyte, parameters: encryption, secrets });
    const finishing = (each: TestVolume) => ({ undo: () => each.finish() });
    const stageOnly = async (each: TestVolume) => {
      await each.create();
      await each.stage();
    };
    return [
      {
        name: "NodeStageVolume",
        prepare: () => volume.create(),
        act: () => volume.stage(),
        ...finishing(volume),
        steps: ["ADD_DEV", "openDevice", "start mkfs.ext4", "end mkfs.ext4", "end mount"],
      },
      {
        name: "NodeStageVolume, encrypted",
        prepare: () => secret.create(),
        act: () => secret.stage(),
        ...finishing(secret),
        steps: ["end cryptsetup", "end mkfs.ext4", "end mount"],
      },
      {
        name: "NodeUnstageVolume",
        prepare: () => stageOnly(volume),
        act: () => volume.unstage(),
        ...finishing(volume),
        steps: ["end umount", "closeDevice"],
      },
      {
        name: "NodePublishVolume",
        prepare: () => stageOnly(volume),
        act: () => volume.publish(),
        ...finishing(volume),
        steps: ["end mount"],
      },
      {
        name: "NodePublishVolume, raw block",
        prepare: () => stageOnly(raw),
        act: () => raw.publish(),
        ...finishing(raw),
        steps: ["end mount"],
      },
      {
        name: "NodeUnpublishVolume",
        prepare: () => volume.start(),
        act: () => volume.unpublish(),
        ...finishing(volume),
        steps: ["end umount"],
      },
    ];
  }

  private ofInlineVolumes(): FailPhase[] {
    const kubelet = `${this.bed.directory}/kubelet`;
    const inline = new InlineVolume({ pod: "a", attributes: { size: "16Mi" } }, kubelet, () => this.bed.driver.client);
    return [
      {
        name: "NodePublishVolume, inline",
        act: () => inline.publish(),
        undo: () => inline.unpublish(),
        steps: ["rename volume.json", "openDevice", "end mkfs.ext4", "end mount"],
      },
      {
        name: "NodeUnpublishVolume, inline",
        prepare: () => inline.publish(),
        act: () => inline.unpublish(),
        undo: () => inline.unpublish(),
        steps: ["end umount", "closeDevice", "rename unfinished"],
      },
    ];
  }
}
