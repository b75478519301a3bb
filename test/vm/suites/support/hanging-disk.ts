import { createMapping, removeMapping } from "./mapped-disk.js";
import { runCommand } from "./run-command.js";

const name = "ublk-hanging";

/** A disk that does not answer for as long as a test wants it to: requests wait, none of them fails. */
export class HangingDisk {
  private constructor(readonly path: string) {}

  static async create(disk: string): Promise<HangingDisk> {
    const toTable = (sectorCount: string) => `0 ${sectorCount} linear ${disk} 0`;
    return new HangingDisk(await createMapping(name, toTable, disk));
  }

  async hang(): Promise<void> {
    await runCommand("dmsetup", ["suspend", "--nolockfs", "--noflush", name]);
  }

  async goOn(): Promise<void> {
    await runCommand("dmsetup", ["resume", "--nolockfs", name]);
  }

  async remove(): Promise<void> {
    await removeMapping(name);
  }
}
