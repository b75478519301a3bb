import { constants } from "node:fs";
import { type FileHandle, open, readlink, stat } from "node:fs/promises";
import type { DriverError } from "../../errors.js";
import { headBytes, readImageHead, refuseSource } from "./image-format.js";
import { toOpenPath } from "./open-path.js";
import type { ImageFormat } from "./pool-command.js";

/** An open file at one moment. */
interface FileState {
  head: Buffer;
  fileBytes: bigint;
  /** Of the last change. Whoever owns a file sets the time of its modification at will, and this one not. */
  changedAtNs: bigint;
}

interface ImageFacts extends FileState {
  /** Where the file was when it was opened, without symbolic links. */
  path: string;
  format: ImageFormat;
  /** Of the disk that it is an image of. */
  sizeBytes: bigint;
}

/**
 * An image file that can be made a volume. It stays open, because whoever owns a folder above it can make its name lead
 * elsewhere between two steps, and these steps are root's.
 */
export class SourceImage {
  private constructor(
    private readonly file: FileHandle,
    readonly facts: Readonly<ImageFacts>,
  ) {}

  /** Looks at an image file. `format` is what it is said to be; without it the file says so itself. */
  static async open(path: string, format: ImageFormat | undefined): Promise<SourceImage> {
    // A device may do something when it is opened.
    if (!(await stat(path)).isFile()) throw refuseNoFile(path);
    // A pipe that has come in its place would keep whoever opens it waiting.
    const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      return new SourceImage(file, await readFacts(file, format));
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** For programs that this process starts. */
  get openPath(): string {
    return toOpenPath(this.file);
  }

  /** Fails when somebody has written to the file since it was opened. */
  async assertUnchanged(): Promise<void> {
    const [before, now] = [this.facts, await readState(this.file)];
    const isSame = before.fileBytes === now.fileBytes && before.changedAtNs === now.changedAtNs;
    // A mapping that was written to before is written to again without a new time.
    if (isSame && before.head.equals(now.head)) return;
    throw refuseSource(before.path, "was written to while it was read: stop who uses it, and try again");
  }

  async close(): Promise<void> {
    await this.file.close();
  }
}

async function readFacts(file: FileHandle, format: ImageFormat | undefined): Promise<ImageFacts> {
  const path = await readlink(`/proc/self/fd/${file.fd}`);
  if (!(await file.stat()).isFile()) throw refuseNoFile(path);
  const state = await readState(file);
  if (state.fileBytes === 0n) throw refuseSource(path, "is empty");
  const said = readImageHead(path, state.head, format);
  return { ...state, path, format: said.format, sizeBytes: said.sizeBytes ?? state.fileBytes };
}

async function readState(file: FileHandle): Promise<FileState> {
  const { size, ctimeNs } = await file.stat({ bigint: true });
  const head = Buffer.alloc(headBytes);
  await file.read(head, 0, headBytes, 0);
  return { head, fileBytes: size, changedAtNs: ctimeNs };
}

function refuseNoFile(path: string): DriverError {
  return refuseSource(path, "is not a file: copy the device or folder into one first");
}
