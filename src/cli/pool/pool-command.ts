import type { PoolRequest } from "../../pools/pool/open-pools.js";
import type { Provisioning } from "../../pools/volume/volume.js";

/** Which pools a command is about, and whose they are. */
export interface PoolPlace {
  stateDir: string;
  kubeletDir: string;
  driverName: string;
  /** Undefined when it was not given: then nothing is said of the owners of pools. */
  nodeId: string | undefined;
  pools: readonly PoolRequest[];
}

export const imageFormats = ["raw", "qcow2"] as const;
export type ImageFormat = (typeof imageFormats)[number];

export interface ListCommand {
  verb: "list";
}

export interface CheckCommand {
  verb: "check";
  /** Whether what holds no data is to be removed: temporary files and empty folders. */
  repair: boolean;
  /** Volumes and snapshots with a finding that are to be removed with their data. */
  removeIds: readonly string[];
}

export interface AdoptCommand {
  verb: "adopt";
  poolName: string;
  /** Whether the name may have stood for another pool before. */
  replace: boolean;
}

export interface ImportCommand {
  verb: "import";
  /** Absolute. */
  sourcePath: string;
  /** Undefined for what the file says it is. */
  format: ImageFormat | undefined;
  /** Undefined for the first one. */
  poolName: string | undefined;
  name: string;
  provisioning: Provisioning;
  /** Undefined for the size of the image. */
  sizeBytes: bigint | undefined;
  /** Undefined for a mount when the image holds a file system that can be mounted. */
  access: "block" | "mount" | undefined;
  storageClassName: string;
}

export interface ExportCommand {
  verb: "export";
  /** Of a volume or a snapshot. */
  id: string;
  /** Absolute. */
  targetPath: string;
  format: ImageFormat;
}

/** One command of `ublk-csi pool`, checked. */
export type PoolCommand = {
  place: PoolPlace;
  /** Whether programs are to read the answer. */
  isJson: boolean;
} & (ListCommand | CheckCommand | AdoptCommand | ImportCommand | ExportCommand);
