import { constants, copyFile, readFile, writeFile } from "node:fs/promises";
import type { CopyHandle, NativeCopySpec, NativeCopyStatus } from "../addon.js";
import { toNativeFailure } from "./fake-kernel.js";

const states = ["starting", "copying", "done", "failed"] as const;

interface Copy extends NativeCopyStatus {
  spec: NativeCopySpec;
  isPaused: boolean;
}

/** The copies of one process without threads: they are done at once, or when the test says so. */
export class FakeCopies {
  /** Keeps copies under way that begin or go on. */
  isHeld = false;
  private readonly copies = new Map<CopyHandle, Copy>();

  async create(spec: NativeCopySpec): Promise<CopyHandle> {
    return await this.add(spec, "starting");
  }

  async resume(spec: NativeCopySpec): Promise<CopyHandle> {
    const bytes = await readFile(spec.progressPath).catch(() => {
      throw toNativeFailure("RESUME_COPY", "ENOENT");
    });
    const state = states[bytes.length < 16 ? states.length : bytes.readUInt32LE(12)];
    if (state === undefined) throw toNativeFailure("RESUME_COPY", "EPROTO");
    const handle = await this.add(spec, state);
    if (state === "copying" && !this.isHeld) await this.finish(handle);
    return handle;
  }

  async start(handles: readonly CopyHandle[]): Promise<void> {
    for (const handle of handles) await this.enter(handle, "copying");
    for (const handle of handles) if (!this.isHeld) await this.finish(handle);
  }

  /** Ends a copy well. */
  async finish(handle: CopyHandle): Promise<void> {
    const { spec } = this.find(handle);
    await copyFile(spec.sourcePath, spec.targetPath, constants.COPYFILE_FICLONE);
    await this.enter(handle, "done");
    this.find(handle).copiedBytes = spec.sizeBytes;
  }

  pause(handle: CopyHandle): void {
    this.find(handle).isPaused = true;
  }

  async cancel(handle: CopyHandle): Promise<void> {
    if (this.find(handle).state !== "done") await this.enter(handle, "failed", "cancelled");
  }

  read(handle: CopyHandle): NativeCopyStatus {
    const { state, copiedBytes, reason } = this.find(handle);
    return { state, copiedBytes, reason };
  }

  /** The copies to which a device's spec refers, by where their targets are. */
  targetsOf(handles: readonly CopyHandle[]): string[] {
    return handles.map((handle) => this.find(handle).spec.targetPath);
  }

  private async add(spec: NativeCopySpec, state: NativeCopyStatus["state"]): Promise<CopyHandle> {
    const handle = {} as CopyHandle;
    const copiedBytes = state === "done" ? spec.sizeBytes : 0n;
    this.copies.set(handle, { spec, state, copiedBytes, reason: "", isPaused: false });
    if (state === "starting") await this.enter(handle, state);
    return handle;
  }

  /** As the engine does, in the file of progress too. */
  private async enter(handle: CopyHandle, state: NativeCopyStatus["state"], reason = ""): Promise<void> {
    const copy = this.find(handle);
    if (copy.isPaused) throw new Error("the test goes on with a copy that was paused");
    Object.assign(copy, { state, reason });
    const header = Buffer.alloc(16);
    header.write("ublkcopy");
    header.writeUInt32LE(1, 8);
    header.writeUInt32LE(states.indexOf(state), 12);
    await writeFile(copy.spec.progressPath, header);
  }

  private find(handle: CopyHandle): Copy {
    const copy = this.copies.get(handle);
    if (copy === undefined) throw new Error("no such copy: the test used it in another process");
    return copy;
  }
}
