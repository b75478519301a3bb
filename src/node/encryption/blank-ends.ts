import { open } from "node:fs/promises";
import { minBytes } from "../../pools/volume/bytes.js";

const endBytes = 1024n ** 2n;

/** Writes zeroes over the beginning and the end of a device, where signatures of file systems, RAIDs and tables lie. */
export async function blankEnds(devicePath: string, sizeBytes: bigint): Promise<void> {
  const zeroes = Buffer.alloc(Number(minBytes(endBytes, sizeBytes)));
  const device = await open(devicePath, "r+");
  try {
    for (const offset of [0, Number(sizeBytes) - zeroes.length]) await writeAll(device, zeroes, offset);
    await device.sync();
  } finally {
    await device.close();
  }
}

async function writeAll(device: Awaited<ReturnType<typeof open>>, data: Buffer, offset: number): Promise<void> {
  for (let done = 0; done < data.length; ) {
    const { bytesWritten } = await device.write(data, done, data.length - done, offset + done);
    done += bytesWritten;
  }
}
