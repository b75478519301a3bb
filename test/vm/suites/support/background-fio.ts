import { waitForIo } from "./completed-io.js";
import { runFio, verifyOptions } from "./fio.js";

/** Random 4 KiB writes with checksums, then their verification; any I/O error or wrong byte fails `done`. */
export function startVerifiedWrites(
  device: { path: string; deviceId: number },
  { sizeBytes, seconds }: { sizeBytes: number; seconds: number },
): { done: Promise<unknown>; running: Promise<void> } {
  const done = runFio({
    writes: {
      filename: device.path,
      rw: "randwrite",
      bs: "4k",
      size: sizeBytes,
      direct: 1,
      ioengine: "io_uring",
      iodepth: 16,
      time_based: 1,
      runtime: seconds,
      ...verifyOptions,
    },
  });
  done.catch(() => undefined); // reported by whoever awaits it
  return { done, running: waitForIo(device.deviceId, 50) };
}
