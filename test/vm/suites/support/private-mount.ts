import { spawn } from "node:child_process";
import { once } from "node:events";

/** A mount that only one process sees. */
export interface PrivateMount {
  end(): Promise<void>;
}

/** Mounts a device in a mount namespace of its own, until `end`. */
export async function mountPrivately(device: string, mountPoint: string): Promise<PrivateMount> {
  const script = 'mount "$1" "$2" && echo mounted && read -r _; umount "$2"';
  const command = ["--mount", "--propagation", "private", "sh", "-c", script, "holder", device, mountPoint];
  const child = spawn("unshare", command, { stdio: ["pipe", "pipe", "inherit"] });
  const exited = once(child, "exit");
  await Promise.race([once(child.stdout, "data"), exited.then(() => Promise.reject(new Error("it did not mount")))]);
  return {
    end: async () => {
      child.stdin.end("\n");
      await exited;
    },
  };
}
