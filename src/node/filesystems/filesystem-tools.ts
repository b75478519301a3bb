import type { FormatOptions } from "../../pools/volume/format-options.js";
import type { RunCommand } from "../../system/command.js";

export interface FormatRequest {
  /** Gives the device's space back before anything is written, so thick volumes do without. */
  discard: boolean;
  options: FormatOptions;
}

/** Where a file system is that is mounted and writable. */
export interface MountedFilesystem {
  devicePath: string;
  mountPoint: string;
}

/** What one type of file system needs of its programs. All but `grow` want a device that is not mounted. */
export interface FilesystemTools {
  /** Makes a file system on a device that `probe` has found blank: not every program looks for itself once more. */
  format(devicePath: string, request: FormatRequest): Promise<void>;
  /** Repairs what the last stop left undone, where that takes no decision; fails with `refused` where it does. */
  repair(devicePath: string): Promise<void>;
  /** What a check that changes nothing finds, in its own words; for people, after a mount has failed. */
  diagnose(devicePath: string): Promise<string>;
  /** Gives the copy of a file system an identity of its own, so that it can be mounted beside its source. */
  renewIdentity(devicePath: string, options: { scratchPath: string }): Promise<void>;
  /** Extends the file system to the end of its device. */
  grow(mounted: MountedFilesystem): Promise<void>;
}

export type FilesystemToolsFactory = (runCommand: RunCommand) => FilesystemTools;

/** For programs that read all of a large file system. */
export const checkTimeoutMs = 60 * 60_000;
export const formatTimeoutMs = 5 * 60_000;
