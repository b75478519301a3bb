import { changeMapping, createMapping, removeMapping } from "./mapped-disk.js";
import { runCommand } from "./run-command.js";

const name = "ublk-failing";

/** A piece of a disk, in sectors of 512 bytes. */
export interface SectorRange {
  start: number;
  count: number;
}

/** A disk of which pieces fail, in reading and in writing, for as long as a test wants them to. */
export class FailingDisk {
  private constructor(
    readonly path: string,
    private readonly disk: string,
  ) {}

  static async create(disk: string): Promise<FailingDisk> {
    return new FailingDisk(await createMapping(name, toTable(disk, []), disk), disk);
  }

  /** These pieces fail from now on, and no others; without any the disk is well. */
  async fail(ranges: readonly SectorRange[]): Promise<void> {
    await changeMapping(name, toTable(this.disk, ranges), this.disk);
  }

  async remove(): Promise<void> {
    await removeMapping(name);
  }
}

/** Where on its disk a file lies. */
export async function findExtents(path: string): Promise<SectorRange[]> {
  const listed = await runCommand("filefrag", ["-s", "-v", "-b512", path]);
  const lines = [...listed.matchAll(/^ *\d+: *\d+\.\. *\d+: *(\d+)\.\. *\d+: *(\d+):/gm)];
  if (lines.length === 0) throw new Error(`filefrag names no extents of ${path}:\n${listed}`);
  return lines.map(([, start, count]) => ({ start: Number(start), count: Number(count) }));
}

const toTable = (disk: string, ranges: readonly SectorRange[]) => (sectorCount: string) => {
  const lines: string[] = [];
  let next = 0;
  const addSound = (end: number) => {
    if (end > next) lines.push(`${next} ${end - next} linear ${disk} ${next}`);
  };
  for (const { start, count } of [...ranges].sort((left, right) => left.start - right.start)) {
    addSound(start);
    lines.push(`${start} ${count} error`);
    next = start + count;
  }
  addSound(Number(sectorCount));
  return lines.join("\n");
};
