/** What statfs(2) tells of a file system. */
export interface FilesystemSpace {
  /** What the numbers of blocks are in. */
  blockSizeBytes: bigint;
  blockCount: bigint;
  freeBlockCount: bigint;
  /** What is left for programs of users. */
  availableBlockCount: bigint;
  /** 0 where inodes are made as they are needed. */
  inodeCount: bigint;
  freeInodeCount: bigint;
}

/** The same for stat(1), in this order. */
export const spaceFormat = "%S %b %f %a %c %d";

/** Reads what stat(1) prints in that format. */
export function parseSpace(text: string): FilesystemSpace {
  if (!/^(?:\d+ ){5}\d+\n$/.test(text)) throw new Error(`stat has said something unknown of a file system: ${text}`);
  const words = text.trim().split(" ");
  const at = (position: number) => BigInt(words[position] ?? 0);
  return {
    blockSizeBytes: at(0),
    blockCount: at(1),
    freeBlockCount: at(2),
    availableBlockCount: at(3),
    inodeCount: at(4),
    freeInodeCount: at(5),
  };
}
