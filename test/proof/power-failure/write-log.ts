import { closeSync, openSync, readSync, writeSync } from "node:fs";

/** The format of dm-log-writes: a super block, then each entry in a sector of its own, its data behind it. */
const magic = 0x6a736677736872n;
const discardFlag = 4n;
const markFlag = 8n;
const markTextOffset = 32;
/** What the kernel writes when logging ends in good order. */
const endMark = "dm-log-writes-end";

export interface WriteLogEntry {
  /** Where its data lies in the log, in bytes. */
  dataOffset: number;
  /** Where the data belongs on the disk, in bytes. */
  offset: number;
  length: number;
  isDiscard: boolean;
  /** The text of a mark. */
  mark: string | undefined;
}

/** Everything that reached a disk and stayed there, in an order that an ideal disk with a volatile cache allows. */
export class WriteLog {
  readonly entries: WriteLogEntry[] = [];
  private readonly log: number;

  constructor(path: string) {
    this.log = openSync(path, "r");
    const header = this.read(0, 512);
    if (header.readBigUInt64LE(0) !== magic) throw new Error(`${path} is no log of dm-log-writes`);
    const entryCount = Number(header.readBigUInt64LE(16));
    const sectorBytes = header.readUInt32LE(24);
    let offset = sectorBytes;
    for (let index = 0; index < entryCount; index++) offset = this.readEntry(offset, sectorBytes);
    if (this.entries.at(-1)?.mark !== endMark)
      throw new Error(`the log of ${entryCount} entries has no end: was it full?`);
  }

  /** Does the writes from entry `from` up to, not including, entry `to` on another disk. */
  replay(target: string, from: number, to: number): void {
    const disk = openSync(target, "r+");
    try {
      for (const { dataOffset, offset, length, isDiscard, mark } of this.entries.slice(from, to)) {
        if (mark !== undefined || isDiscard || length === 0) continue;
        writeSync(disk, this.read(dataOffset, length), 0, length, offset);
      }
    } finally {
      closeSync(disk);
    }
  }

  close(): void {
    closeSync(this.log);
  }

  private readEntry(offset: number, sectorBytes: number): number {
    const bytes = this.read(offset, sectorBytes);
    const [sector, sectorCount, flags, textLength] = [0, 8, 16, 24].map((at) => bytes.readBigUInt64LE(at));
    if (sector === undefined || sectorCount === undefined || flags === undefined) throw new Error("unreachable");
    const isMark = (flags & markFlag) !== 0n;
    const isDiscard = (flags & discardFlag) !== 0n;
    const length = Number(sectorCount) * sectorBytes;
    const dataOffset = offset + sectorBytes;
    const mark = isMark ? bytes.toString("latin1", markTextOffset, markTextOffset + Number(textLength)) : undefined;
    this.entries.push({ dataOffset, offset: Number(sector) * sectorBytes, length, isDiscard, mark });
    return isDiscard ? dataOffset : dataOffset + length;
  }

  private read(offset: number, length: number): Buffer {
    const bytes = Buffer.alloc(length);
    let done = 0;
    while (done < length) {
      const count = readSync(this.log, bytes, done, length - done, offset + done);
      if (count === 0) throw new Error(`the log ends at byte ${offset + done}`);
      done += count;
    }
    return bytes;
  }
}
