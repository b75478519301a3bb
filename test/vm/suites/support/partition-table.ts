/** An MBR with one Linux partition of 4 MiB at 1 MiB. */
export function createPartitionTable(): Buffer {
  const sector = Buffer.alloc(512);
  sector.writeUInt8(0x83, 446 + 4);
  sector.writeUInt32LE(2048, 446 + 8);
  sector.writeUInt32LE(8192, 446 + 12);
  sector.writeUInt16LE(0xaa55, 510);
  return sector;
}
