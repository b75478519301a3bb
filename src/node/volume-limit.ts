import { readFile } from "node:fs/promises";

const limitPath = "/sys/module/ublk_drv/parameters/ublks_max";

/**
 * How many volumes this node can have devices for; 0 when the kernel sets no limit that concerns us. Until 6.14 the
 * driver's parameter counts every device, from 6.15 on only those of unprivileged users.
 */
export async function readVolumeCountMax(kernelRelease: string, path = limitPath): Promise<bigint> {
  const [major = 0, minor = 0] = kernelRelease.split(".").map((part) => Number.parseInt(part, 10));
  if (major > 6 || (major === 6 && minor >= 15)) return 0n;
  const text = await readFile(path, "utf8").catch(() => "0");
  return BigInt(text.trim());
}
