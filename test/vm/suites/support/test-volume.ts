import { mkdir, rmdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import {
  VolumeCapability_AccessMode_Mode as AccessMode,
  ControllerExpandVolumeRequest,
  ControllerService,
  CreateVolumeRequest,
  DeleteVolumeRequest,
  NodeExpandVolumeRequest,
  NodeGetVolumeStatsRequest,
  type NodeGetVolumeStatsResponse,
  NodePublishVolumeRequest,
  NodeService,
  NodeStageVolumeRequest,
  NodeUnpublishVolumeRequest,
  NodeUnstageVolumeRequest,
  type Volume,
  type VolumeCapability,
  type VolumeContentSource,
} from "../../../../src/gen/csi/csi.js";
import type { CsiClient } from "./csi-client.js";
import { findDeviceId } from "./mounts.js";

/** What a user would write into a claim and its StorageClass. */
export interface VolumeWish {
  name: string;
  sizeBytes: number;
  access: { kind: "mount"; fsType: string; mountFlags?: string[] } | { kind: "block" };
  accessMode?: AccessMode;
  parameters?: Record<string, string>;
  /** What kubelet reads from the Secret that the StorageClass names for staging and for expansion. */
  secrets?: Record<string, string>;
  contentSource?: VolumeContentSource;
  /** The fsGroup of the pod. */
  mountGroup?: string;
}

/** One volume, led through its life the way kubelet does it. The directories lie below `kubeletDirectory`. */
export class TestVolume {
  readonly stagingPath: string;
  readonly targetPath: string;
  private created: Volume | undefined;

  constructor(
    readonly wish: VolumeWish,
    kubeletDirectory: string,
    /** Asked at each call, because a driver that is started again has a new one. */
    private readonly client: () => CsiClient,
  ) {
    this.stagingPath = join(kubeletDirectory, "plugins", wish.name, "globalmount");
    this.targetPath = join(kubeletDirectory, "pods", wish.name, wish.access.kind === "block" ? "device" : "mount");
  }

  get id(): string {
    if (this.created === undefined) throw new Error(`volume ${this.wish.name} was not created`);
    return this.created.volumeId;
  }

  get isCreated(): boolean {
    return this.created !== undefined;
  }

  async create(deadlineMs?: number): Promise<Volume> {
    const request = CreateVolumeRequest.fromPartial({
      name: this.wish.name,
      capacityRange: { requiredBytes: BigInt(this.wish.sizeBytes) },
      volumeCapabilities: [this.capability],
      parameters: this.wish.parameters ?? {},
      ...(this.wish.contentSource === undefined ? {} : { volumeContentSource: this.wish.contentSource }),
    });
    const { volume } = await this.client().call(ControllerService.createVolume, request, deadlineMs);
    if (volume === undefined) throw new Error("CreateVolume answered without a volume");
    this.created = volume;
    return volume;
  }

  async stage(): Promise<void> {
    await mkdir(this.stagingPath, { recursive: true }).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "EIO") throw error; // there already, as a file system that was shut down
    });
    const { secrets = {} } = this.wish;
    const request = { ...this.nodeFields, stagingTargetPath: this.stagingPath, secrets };
    await this.client().call(NodeService.nodeStageVolume, NodeStageVolumeRequest.fromPartial(request));
  }

  /** At the path of its own pod, or at another one. */
  async publish({ readOnly = false, targetPath = this.targetPath } = {}): Promise<void> {
    await mkdir(dirname(targetPath), { recursive: true });
    const paths = { stagingTargetPath: this.stagingPath, targetPath };
    const request = NodePublishVolumeRequest.fromPartial({ ...this.nodeFields, ...paths, readonly: readOnly });
    await this.client().call(NodeService.nodePublishVolume, request);
  }

  async readStats(): Promise<NodeGetVolumeStatsResponse> {
    const request = { volumeId: this.id, volumePath: this.targetPath, stagingTargetPath: this.stagingPath };
    return await this.client().call(NodeService.nodeGetVolumeStats, NodeGetVolumeStatsRequest.fromPartial(request));
  }

  async expand(sizeBytes: number): Promise<void> {
    const capacityRange = { requiredBytes: BigInt(sizeBytes) };
    const request = ControllerExpandVolumeRequest.fromPartial({ volumeId: this.id, capacityRange });
    await this.client().call(ControllerService.controllerExpandVolume, request);
  }

  /** As csi-sanity asks: with neither a capability nor a staging path. */
  async expandOnNode(sizeBytes: number): Promise<bigint> {
    const capacityRange = { requiredBytes: BigInt(sizeBytes) };
    const where = { volumeId: this.id, volumePath: this.targetPath };
    const { secrets = {} } = this.wish;
    const request = NodeExpandVolumeRequest.fromPartial({ ...where, capacityRange, secrets });
    return (await this.client().call(NodeService.nodeExpandVolume, request)).capacityBytes;
  }

  async unpublish(): Promise<void> {
    const request = { volumeId: this.id, targetPath: this.targetPath };
    await this.client().call(NodeService.nodeUnpublishVolume, NodeUnpublishVolumeRequest.fromPartial(request));
    await removeDirectory(dirname(this.targetPath));
  }

  async unstage(): Promise<void> {
    const request = { volumeId: this.id, stagingTargetPath: this.stagingPath };
    await this.client().call(NodeService.nodeUnstageVolume, NodeUnstageVolumeRequest.fromPartial(request));
    await removeDirectory(this.stagingPath);
    await removeDirectory(dirname(this.stagingPath));
  }

  async delete(): Promise<void> {
    const request = DeleteVolumeRequest.fromPartial({ volumeId: this.id });
    await this.client().call(ControllerService.deleteVolume, request);
    this.created = undefined;
  }

  /** Created, staged and published. */
  async start(options?: { readOnly?: boolean }): Promise<void> {
    await this.create();
    await this.stage();
    await this.publish(options);
  }

  /** Unpublished, unstaged and deleted; each of them also when there is nothing to do. */
  async finish(): Promise<void> {
    await this.unpublish();
    await this.unstage();
    await this.delete();
  }

  /** The N of its /dev/ublkbN, of a published volume. */
  async findDeviceId(): Promise<number> {
    return await findDeviceId(this.targetPath);
  }

  private get nodeFields() {
    const volumeContext = this.created?.volumeContext ?? {};
    return { volumeId: this.id, volumeCapability: this.capability, volumeContext };
  }

  private get capability(): VolumeCapability {
    const { access, accessMode = AccessMode.SINGLE_NODE_WRITER } = this.wish;
    const mode = { mode: accessMode };
    if (access.kind === "block") return { accessType: { $case: "block", value: {} }, accessMode: mode };
    const value = {
      fsType: access.fsType,
      mountFlags: access.mountFlags ?? [],
      volumeMountGroup: this.wish.mountGroup ?? "",
    };
    return { accessType: { $case: "mount", value }, accessMode: mode };
  }
}

/** Kubelet's part of the clean-up. Only ever an empty directory: anything in it is left to be seen. */
async function removeDirectory(path: string): Promise<void> {
  await rmdir(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT") throw error;
  });
}
