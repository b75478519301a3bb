import { stringify } from "yaml";
import type { Volume, VolumeCapability } from "../../pools/volume/volume.js";
import { NodeTopology } from "../../rpc/topology.js";

/** What of a PersistentVolume is not the volume's. */
export interface PersistentVolumePlace {
  driverName: string;
  nodeId: string;
  storageClassName?: string;
}

/** A PersistentVolume for a volume that Kubernetes did not ask for. It stays when its claim goes: somebody made it by hand. */
export function toPersistentVolume(volume: Volume, place: PersistentVolumePlace): object {
  const { id, name, sizeBytes, pool, parameters, capabilities } = volume;
  const { driverName, nodeId, storageClassName = "" } = place;
  const mount = capabilities.find((each) => each.accessType === "mount");
  const segments = Object.entries(new NodeTopology(driverName, nodeId).toProto().segments);
  return {
    apiVersion: "v1",
    kind: "PersistentVolume",
    metadata: { name },
    spec: {
      capacity: { storage: sizeBytes.toString() },
      volumeMode: mount === undefined ? "Block" : "Filesystem",
      accessModes: [toKubernetesMode(capabilities)],
      persistentVolumeReclaimPolicy: "Retain",
      storageClassName,
      ...(mount !== undefined && mount.mountFlags.length > 0 && { mountOptions: mount.mountFlags }),
      csi: {
        driver: driverName,
        volumeHandle: id,
        ...(mount?.fsType !== undefined && { fsType: mount.fsType }),
        volumeAttributes: { pool, provisioning: parameters.provisioning },
      },
      nodeAffinity: {
        required: {
          nodeSelectorTerms: [
            { matchExpressions: segments.map(([key, value]) => ({ key, operator: "In", values: [value] })) },
          ],
        },
      },
    },
  };
}

/** As `kubectl apply` reads it. Which Secret has a passphrase the driver does not know: it gets what is in it alone. */
export function toYaml(volume: Volume, place: PersistentVolumePlace): string {
  const yaml = stringify(toPersistentVolume(volume, place));
  if (volume.parameters.encryption === undefined) return yaml;
  return `# Encrypted: add nodeStageSecretRef and nodeExpandSecretRef, which name the Secret with its passphrase, to spec.csi.\n${yaml}`;
}

function toKubernetesMode(capabilities: readonly VolumeCapability[]): string {
  const isForOnePod = capabilities.every(({ accessMode }) => accessMode === "SINGLE_NODE_SINGLE_WRITER");
  return isForOnePod ? "ReadWriteOncePod" : "ReadWriteOnce";
}
