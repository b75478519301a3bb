import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { hasErrno } from "../../errors.js";

/** A device-mapper device as the kernel has it. */
export interface MappedDevice {
  name: string;
  /** The kernel's own node; there is one whether udev runs or not. */
  path: string;
  number: string;
  sizeBytes: bigint;
  /** What made it, for example `CRYPT-LUKS2-<uuid of the header>-<name>`. */
  uuid: string;
  /** The kernel's names of the devices below, for example `ublkb0`. */
  below: string[];
}

/** Looks at the kernel's device mapper. */
export interface MappedDevices {
  find(name: string): Promise<MappedDevice | undefined>;
}

const sectorBytes = 512n;

/** Reads sysfs, which needs neither udev nor a program. */
export class SysfsMappedDevices implements MappedDevices {
  constructor(private readonly directory = "/sys/block") {}

  async find(name: string): Promise<MappedDevice | undefined> {
    for (const kernelName of await readdir(this.directory)) {
      if (!kernelName.startsWith("dm-")) continue;
      const found = await this.read(kernelName, name).catch((error: unknown) => {
        if (hasErrno(error, "ENOENT", "ENODEV")) return undefined; // gone meanwhile
        throw error;
      });
      if (found !== undefined) return found;
    }
    return undefined;
  }

  private async read(kernelName: string, name: string): Promise<MappedDevice | undefined> {
    if ((await this.readText(kernelName, "dm/name")) !== name) return undefined;
    return {
      name,
      path: `/dev/${kernelName}`,
      number: await this.readText(kernelName, "dev"),
      sizeBytes: BigInt(await this.readText(kernelName, "size")) * sectorBytes,
      uuid: await this.readText(kernelName, "dm/uuid"),
      below: await readdir(join(this.directory, kernelName, "slaves")),
    };
  }

  private async readText(kernelName: string, attribute: string): Promise<string> {
    return (await readFile(join(this.directory, kernelName, attribute), "utf8")).trim();
  }
}
