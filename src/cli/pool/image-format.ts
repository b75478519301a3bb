import { DriverError } from "../../errors.js";
import { overlaidBytes } from "./head-overlay.js";
import type { ImageFormat } from "./pool-command.js";

/** What an image file says of itself. */
export interface ImageHead {
  format: ImageFormat;
  /** Of the disk that it is an image of; undefined where that is the size of the file. */
  sizeBytes: bigint | undefined;
}

/** As much of a file as its head may be, and more than is read of it here. */
export const headBytes = overlaidBytes;
/** Other formats that a file of bytes could be mistaken for, by how they begin. */
const foreignFormats: ReadonlyArray<[magic: Buffer, name: string]> = [
  [Buffer.from("KDMV"), "vmdk"],
  [Buffer.from("vhdxfile"), "vhdx"],
  [Buffer.from("conectix"), "vhd"],
  [Buffer.from("QED\0"), "qed"],
  [Buffer.from("<<< "), "vdi"],
  [Buffer.from([0x1f, 0x8b]), "gzip"],
  [Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]), "xz"],
  [Buffer.from([0x28, 0xb5, 0x2f, 0xfd]), "zstd"],
  [Buffer.from("PK\x03\x04"), "zip"],
];
const qcowMagic = Buffer.from([0x51, 0x46, 0x49, 0xfb]);

/** `format` is what the file is said to be; without it its head tells. A head that must not be read is refused. */
export function readImageHead(path: string, head: Buffer, format: ImageFormat | undefined): ImageHead {
  const found = format ?? detectFormat(path, head);
  return { format: found, sizeBytes: found === "qcow2" ? readQcow2SizeBytes(path, head) : undefined };
}

function detectFormat(path: string, head: Buffer): ImageFormat {
  if (startsWith(head, qcowMagic)) return "qcow2";
  const foreign = foreignFormats.find(([magic]) => startsWith(head, magic));
  if (foreign === undefined) return "raw";
  throw refuseSource(
    path,
    `looks like ${foreign[1]}: unpack or convert it first, or give --format raw for its bytes as they are`,
  );
}

/**
 * Reads the header by QEMU's docs/interop/qcow2.rst, before any program does: an image that names other files could make
 * a program open them.
 */
function readQcow2SizeBytes(path: string, head: Buffer): bigint {
  if (!startsWith(head, qcowMagic)) throw refuseSource(path, "is not qcow2: leave --format out, or give raw");
  const version = head.readUInt32BE(4);
  if (version !== 2 && version !== 3)
    throw refuseSource(path, `is of qcow version ${version}, known are 2 and 3: convert it`);
  const incompatible = version === 3 ? head.readBigUInt64BE(72) : 0n;
  if (head.readBigUInt64BE(8) !== 0n) {
    throw refuseSource(path, "has a backing file, and is not whole without it: flatten it with qemu-img convert");
  }
  if ((incompatible & 4n) !== 0n)
    throw refuseSource(path, "keeps its data in another file: flatten it with qemu-img convert");
  if (head.readUInt32BE(32) !== 0) throw refuseSource(path, "is encrypted: decrypt it with qemu-img convert");
  if ((incompatible & 3n) !== 0n)
    throw refuseSource(path, "was not closed cleanly: repair it with qemu-img check -r all");
  const sizeBytes = head.readBigUInt64BE(24);
  if (sizeBytes === 0n) throw refuseSource(path, "is an image of no bytes");
  return sizeBytes;
}

function startsWith(head: Buffer, magic: Buffer): boolean {
  return head.subarray(0, magic.length).equals(magic);
}

export function refuseSource(path: string, reason: string): DriverError {
  return new DriverError("refused", `${path} ${reason}`);
}
