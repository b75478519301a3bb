import { closeSync, openSync, readSync, writeSync } from "node:fs";
import type { FakeBlockDevices } from "../../engine/testing/fake-block-devices.js";
import type { FilesystemTools } from "../../node/filesystems/filesystem-tools.js";
import type { Filesystems } from "../../node/filesystems/filesystems.js";
import type { FsType } from "../../pools/volume/volume.js";
import type { CrashSwitch } from "../crash-switch.js";

const signatureOffset = 1024;
const tokenOffset = 4096;
const fieldBytes = 64;

/**
 * Pretends file systems by what is in the images behind fake devices: a signature, and one text that pods write. Clones and
 * snapshots have both, because they have the bytes.
 */
export class ImageFilesystems implements Filesystems {
  constructor(
    private readonly blockDevices: FakeBlockDevices,
    private readonly crash: CrashSwitch,
  ) {}

  async probe(devicePath: string): Promise<string | undefined> {
    return readField(await this.imageOf(devicePath), signatureOffset) || undefined;
  }

  async wipe(devicePath: string): Promise<void> {
    await this.crash.step(async () => writeField(await this.imageOf(devicePath), signatureOffset, ""));
  }

  toolsOf(fsType: FsType): FilesystemTools {
    return {
      format: async (devicePath) => {
        const content = await this.probe(devicePath);
        if (content !== undefined) throw new Error(`fake mkfs: ${devicePath} holds ${content}`);
        const path = await this.imageOf(devicePath);
        await this.crash.step(async () => writeField(path, signatureOffset, fsType));
        await this.crash.step(async () => writeField(path, tokenOffset, ""));
      },
      repair: async () => undefined,
      renewIdentity: async () => undefined,
      grow: async () => undefined,
      diagnose: async () => "nothing is wrong",
    };
  }

  async giveToGroup(): Promise<void> {}

  async isGivenToGroup(): Promise<boolean> {
    return true;
  }

  async trim(): Promise<bigint> {
    return 0n;
  }

  /** As a pod does. */
  async write(volumeId: string, token: string): Promise<void> {
    writeField(this.imageOfVolume(volumeId), tokenOffset, token);
  }

  async read(volumeId: string): Promise<string> {
    return readField(this.imageOfVolume(volumeId), tokenOffset);
  }

  private async imageOf(devicePath: string): Promise<string> {
    const device = (await this.blockDevices.list()).find(({ path }) => path === devicePath);
    if (device === undefined) throw new Error(`${devicePath} is no device`);
    return this.imageOfVolume(device.volumeId);
  }

  private imageOfVolume(volumeId: string): string {
    const path = this.blockDevices.specs.get(volumeId)?.image.path;
    if (path === undefined) throw new Error(`volume ${volumeId} has no device`);
    return path;
  }
}

function readField(path: string, offset: number): string {
  const file = openSync(path, "r");
  try {
    const field = Buffer.alloc(fieldBytes);
    readSync(file, field, 0, fieldBytes, offset);
    return field.toString("utf8").replace(/\0+$/, "");
  } finally {
    closeSync(file);
  }
}

function writeField(path: string, offset: number, text: string): void {
  const file = openSync(path, "r+");
  try {
    const field = Buffer.alloc(fieldBytes);
    field.write(text);
    writeSync(file, field, 0, fieldBytes, offset);
  } finally {
    closeSync(file);
  }
}
