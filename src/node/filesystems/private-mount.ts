import type { RunCommand } from "../../system/command.js";

/** A mount that nobody else sees. */
export interface PrivateMount {
  devicePath: string;
  /** Any directory: it is covered in the mount's own namespace only. */
  scratchPath: string;
  fsType: string;
  options: string;
}

/**
 * Mounts a file system for a moment, so that the kernel replays its log. The mount lives in a namespace that ends with the
 * program, so it goes away whatever happens to this process. Nothing is seen outside; inside, what is unmounted outside
 * goes away too: the copy of another volume's mount would keep its device in use.
 */
export async function replayLog(runCommand: RunCommand, mount: PrivateMount): Promise<void> {
  const { devicePath, scratchPath, fsType, options } = mount;
  const args = ["--mount", "--propagation", "slave", "mount", "-t", fsType, "-o", options, devicePath, scratchPath];
  await runCommand("unshare", args, { timeoutMs: 10 * 60_000 });
}
