import { changeMapping, createMapping, removeMapping } from "./mapped-disk.js";

const name = "ublk-slow";
const toTable = (disk: string, readDelayMs: number) => (sectorCount: string) =>
  `0 ${sectorCount} delay ${disk} 0 ${readDelayMs} ${disk} 0 0`;

/** A disk that answers reads late for as long as a test wants it to; writes are never held up. */
export class SlowDisk {
  private constructor(
    readonly path: string,
    private readonly disk: string,
  ) {}

  static async create(disk: string): Promise<SlowDisk> {
    return new SlowDisk(await createMapping(name, toTable(disk, 0), disk), disk);
  }

  async delayReads(milliseconds: number): Promise<void> {
    await changeMapping(name, toTable(this.disk, milliseconds), this.disk);
  }

  async remove(): Promise<void> {
    await removeMapping(name);
  }
}
