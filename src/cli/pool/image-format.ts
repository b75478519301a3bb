import { type FileHandle, open, stat } from "node:fs/promises";
import { DriverError } from "../../errors.js";
import type { ImageFormat } from "./pool-command.js";

/** An image file that can be made a volume. */
export interface SourceImage {
  path: string;
  format: ImageFormat;
  /** Of the disk that it is an image of. */
  sizeBytes: bigint;
  /** Changes when somebody writes to the file. */
  version: string;
}

const headBytes = 104;
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

/** Looks at an image file. `format` is what it is said to be; without it the file says so itself. */
export async function readSourceImage(path: string, format: ImageFormat | undefined): Promise<SourceImage> {
  // A pipe would keep whoever opens it waiting.
  if (!(await stat(path)).isFile()) throw refused(path, "is not a file: copy the device or folder into one first");
  const file = await open(path, "r");
  try {
    const { size, mtimeNs, ino } = await file.stat({ bigint: true });
    if (size === 0n) throw refused(path, "is empty");
    const head = await readHead(file);
    const found = format ?? detectFormat(path, head);
    const sizeBytes = found === "qcow2" ? readQcow2SizeBytes(path, head) : size;
    return { path, format: found, sizeBytes, version: `${ino}/${size}/${mtimeNs}` };
  } finally {
    await file.close();
  }
}

async function readHead(file: FileHandle): Promise<Buffer> {
  const head = Buffer.alloc(headBytes);
  await file.read(head, 0, headBytes, 0);
  return head;
}

function detectFormat(path: string, head: Buffer): ImageFormat {
  if (startsWith(head, qcowMagic)) return "qcow2";
  const foreign = foreignFormats.find(([magic]) => startsWith(head, magic));
  if (foreign === undefined) return "raw";
  throw refused(
    path,
    `looks like ${foreign[1]}: unpack or convert it first, or give --format raw for its bytes as they are`,
  );
}

/**
 * Reads the header by QEMU's docs/interop/qcow2.rst, before any program does: an image that names other files could make
 * a program open them.
 */
function readQcow2SizeBytes(path: string, head: Buffer): bigint {
  if (!startsWith(head, qcowMagic)) throw refused(path, "is not qcow2: leave --format out, or give raw");
  const version = head.readUInt32BE(4);
  if (version !== 2 && version !== 3)
    throw refused(path, `is of qcow version ${version}, known are 2 and 3: convert it`);
  const incompatible = version === 3 ? head.readBigUInt64BE(72) : 0n;
  if (head.readBigUInt64BE(8) !== 0n) {
    throw refused(path, "has a backing file, and is not whole without it: flatten it with qemu-img convert");
  }
  if ((incompatible & 4n) !== 0n)
    throw refused(path, "keeps its data in another file: flatten it with qemu-img convert");
  if (head.readUInt32BE(32) !== 0) throw refused(path, "is encrypted: decrypt it with qemu-img convert");
  if ((incompatible & 3n) !== 0n) throw refused(path, "was not closed cleanly: repair it with qemu-img check -r all");
  const sizeBytes = head.readBigUInt64BE(24);
  if (sizeBytes === 0n) throw refused(path, "is an image of no bytes");
  return sizeBytes;
}

function startsWith(head: Buffer, magic: Buffer): boolean {
  return head.subarray(0, magic.length).equals(magic);
}

function refused(path: string, reason: string): DriverError {
  return new DriverError("refused", `${path} ${reason}`);
}
