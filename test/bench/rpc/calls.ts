import {
  ControllerExpandVolumeRequest,
  ControllerGetVolumeHealthRequest,
  ControllerGetVolumeRequest,
  ControllerListVolumeHealthRequest,
  ControllerModifyVolumeRequest,
  ControllerService,
  GetCapacityRequest,
  GetPluginInfoRequest,
  IdentityService,
  ListVolumesRequest,
  NodeGetInfoRequest,
  NodeGetStorageHealthRequest,
  NodeGetVolumeHealthRequest,
  NodeService,
  ProbeRequest,
  ValidateVolumeCapabilitiesRequest,
} from "../../../src/gen/csi/csi.js";
import type { TestBed } from "../../vm/suites/support/test-bed.js";
import type { TestVolume } from "../../vm/suites/support/test-volume.js";
import type { Latencies } from "./latencies.js";
import { timeSnapshots } from "./snapshots.js";

const mebibyte = 1024 ** 2;
export const volumeBytes = 16 * mebibyte;

export function describeVolume(bed: TestBed, name: string): TestVolume {
  const access = { kind: "mount", fsType: "ext4" } as const;
  return bed.volume({ name, sizeBytes: volumeBytes, access, parameters: { provisioning: "thin", queueDepth: "16" } });
}

/** One volume's whole life, every call of it timed. */
export async function timeLife(bed: TestBed, volume: TestVolume, latencies: Latencies): Promise<void> {
  await latencies.time("CreateVolume", () => volume.create());
  await latencies.time("NodeStageVolume (mkfs)", () => volume.stage());
  await latencies.time("NodePublishVolume", () => volume.publish());
  await timeIdentity(bed, latencies);
  await timeQuestions(bed, volume, latencies);
  await timeChanges(bed, volume, latencies);
  await timeSnapshots(bed, volume, latencies);
  await latencies.time("NodeUnpublishVolume", () => volume.unpublish());
  await latencies.time("NodeUnstageVolume", () => volume.unstage());
  await latencies.time("NodeStageVolume (again)", () => volume.stage());
  await volume.unstage();
  await latencies.time("DeleteVolume", () => volume.delete());
}

async function timeIdentity({ driver: { client } }: TestBed, latencies: Latencies): Promise<void> {
  await latencies.time("GetPluginInfo", () =>
    client.call(IdentityService.getPluginInfo, GetPluginInfoRequest.fromPartial({})),
  );
  await latencies.time("Probe", () => client.call(IdentityService.probe, ProbeRequest.fromPartial({})));
  await latencies.time("NodeGetInfo", () => client.call(NodeService.nodeGetInfo, NodeGetInfoRequest.fromPartial({})));
  await latencies.time("GetCapacity", () =>
    client.call(ControllerService.getCapacity, GetCapacityRequest.fromPartial({})),
  );
  await latencies.time("NodeGetStorageHealth", () =>
    client.call(NodeService.nodeGetStorageHealth, NodeGetStorageHealthRequest.fromPartial({})),
  );
  await latencies.time("ControllerListVolumeHealth", () =>
    client.call(ControllerService.controllerListVolumeHealth, ControllerListVolumeHealthRequest.fromPartial({})),
  );
}

async function timeQuestions({ driver }: TestBed, volume: TestVolume, latencies: Latencies): Promise<void> {
  const { client } = driver;
  const { id: volumeId, targetPath: volumePublishPath } = volume;
  const mount = { accessType: { $case: "mount", value: { fsType: "ext4" } }, accessMode: { mode: 1 } } as const;
  await latencies.time("NodeGetVolumeStats", () => volume.readStats());
  await latencies.time("ControllerGetVolume", () =>
    client.call(ControllerService.controllerGetVolume, ControllerGetVolumeRequest.fromPartial({ volumeId })),
  );
  await latencies.time("ListVolumes", () =>
    client.call(ControllerService.listVolumes, ListVolumesRequest.fromPartial({})),
  );
  await latencies.time("ValidateVolumeCapabilities", () =>
    client.call(
      ControllerService.validateVolumeCapabilities,
      ValidateVolumeCapabilitiesRequest.fromPartial({ volumeId, volumeCapabilities: [mount] }),
    ),
  );
  await latencies.time("ControllerGetVolumeHealth", () =>
    client.call(
      ControllerService.controllerGetVolumeHealth,
      ControllerGetVolumeHealthRequest.fromPartial({ volumeId }),
    ),
  );
  await latencies.time("NodeGetVolumeHealth", () =>
    client.call(
      NodeService.nodeGetVolumeHealth,
      NodeGetVolumeHealthRequest.fromPartial({ volumeId, volumePublishPath }),
    ),
  );
}

async function timeChanges({ driver }: TestBed, volume: TestVolume, latencies: Latencies): Promise<void> {
  const { client } = driver;
  const { id: volumeId } = volume;
  const capacityRange = { requiredBytes: BigInt(volumeBytes + mebibyte) };
  await latencies.time("ControllerExpandVolume", () =>
    client.call(
      ControllerService.controllerExpandVolume,
      ControllerExpandVolumeRequest.fromPartial({ volumeId, capacityRange }),
    ),
  );
  await latencies.time("NodeExpandVolume", () => volume.expandOnNode(volumeBytes + mebibyte));
  await latencies.time("ControllerModifyVolume", () =>
    client.call(
      ControllerService.controllerModifyVolume,
      ControllerModifyVolumeRequest.fromPartial({ volumeId, mutableParameters: { iops: "100000" } }),
    ),
  );
}
