import { mkdir, rmdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import {
  VolumeCapability_AccessMode_Mode as AccessMode,
  NodePublishVolumeRequest,
  NodeService,
  NodeUnpublishVolumeRequest,
} from "../../../../src/gen/csi/csi.js";
import type { CsiClient } from "./csi-client.js";

export interface InlineWish {
  /** Of the pod; one letter or digit, which makes the id. */
  pod: string;
  fsType?: string;
  /** What the pod's author writes. */
  attributes?: Record<string, string>;
}

/** An inline volume, asked for and given back the way kubelet does it. */
export class InlineVolume {
  readonly id: string;
  readonly targetPath: string;
  private readonly podPath: string;

  constructor(
    readonly wish: InlineWish,
    kubeletDirectory: string,
    private readonly client: () => CsiClient,
  ) {
    this.id = `csi-${wish.pod.repeat(64)}`;
    this.podPath = join(kubeletDirectory, "pods", `uid-${wish.pod}`);
    this.targetPath = join(this.podPath, "volumes/kubernetes.io~csi/scratch/mount");
  }

  async publish({ readOnly = false } = {}): Promise<void> {
    await mkdir(dirname(this.targetPath), { recursive: true });
    const value = { fsType: this.wish.fsType ?? "", mountFlags: [], volumeMountGroup: "" };
    const request = NodePublishVolumeRequest.fromPartial({
      volumeId: this.id,
      targetPath: this.targetPath,
      volumeCapability: {
        accessType: { $case: "mount", value },
        accessMode: { mode: AccessMode.SINGLE_NODE_WRITER },
      },
      readonly: readOnly,
      volumeContext: {
        ...this.wish.attributes,
        "csi.storage.k8s.io/ephemeral": "true",
        "csi.storage.k8s.io/pod.uid": `uid-${this.wish.pod}`,
        "csi.storage.k8s.io/pod.name": this.wish.pod,
        "csi.storage.k8s.io/pod.namespace": "default",
      },
    });
    await this.client().call(NodeService.nodePublishVolume, request);
  }

  async unpublish(): Promise<void> {
    const request = NodeUnpublishVolumeRequest.fromPartial({ volumeId: this.id, targetPath: this.targetPath });
    await this.client().call(NodeService.nodeUnpublishVolume, request);
    await this.removePodDirectory();
  }

  /** What kubelet does at last with the directory of a pod; it has to be empty but for what leads to the volume. */
  async removePodDirectory(): Promise<void> {
    for (let path = dirname(this.targetPath); path.startsWith(this.podPath); path = dirname(path)) {
      await rmdir(path).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== "ENOENT") throw error;
      });
    }
  }
}
