import { lstat } from "node:fs/promises";
import type { FsType } from "../../pools/volume/volume.js";
import type { FilesystemTools, FormatRequest } from "../filesystems/filesystem-tools.js";
import type { Filesystems, TrimOptions } from "../filesystems/filesystems.js";

/** Remembers what each device holds, by path. */
export class FakeFilesystems implements Filesystems {
  readonly contents = new Map<string, string>();
  /** Every format that was asked for. */
  readonly formats: Array<{ devicePath: string; fsType: FsType } & FormatRequest> = [];
  /** Every other tool that was used, as `verb type`. */
  readonly calls: string[] = [];
  /** What each trim finds. */
  unusedBytes = 0n;
  /** What a trim waits for. */
  trimming: (signal: AbortSignal) => Promise<void> = async () => undefined;
  /** When set, the tool of this verb fails with it. */
  readonly failures = new Map<string, Error>();

  async probe(devicePath: string): Promise<string | undefined> {
    await lstat(devicePath);
    return this.contents.get(devicePath);
  }

  async wipe(devicePath: string): Promise<void> {
    await lstat(devicePath);
    this.contents.delete(devicePath);
  }

  /** The group that a directory was given to last. */
  readonly groups = new Map<string, number>();

  async giveToGroup(directory: string, gid: number): Promise<void> {
    await this.fail("giveToGroup");
    this.groups.set(directory, gid);
  }

  async isGivenToGroup(directory: string, gid: number): Promise<boolean> {
    return this.groups.get(directory) === gid;
  }

  toolsOf(fsType: FsType): FilesystemTools {
    return {
      format: (devicePath, request) => this.format(devicePath, fsType, request),
      repair: () => this.enter("repair", fsType),
      renewIdentity: () => this.enter("renewIdentity", fsType),
      grow: () => this.enter("grow", fsType),
      diagnose: async () => {
        await this.enter("diagnose", fsType);
        return "nothing is wrong";
      },
    };
  }

  async trim(mountPoint: string, { signal }: TrimOptions): Promise<bigint> {
    this.calls.push(`trim ${mountPoint}`);
    await this.fail("trim");
    await this.trimming(signal);
    return this.unusedBytes;
  }

  private async format(devicePath: string, fsType: FsType, request: FormatRequest): Promise<void> {
    await lstat(devicePath);
    if (this.contents.has(devicePath))
      throw new Error(`fake mkfs: ${devicePath} holds ${this.contents.get(devicePath)}`);
    this.formats.push({ devicePath, fsType, ...request });
    this.contents.set(devicePath, fsType);
    await this.fail("format");
  }

  private async enter(verb: string, fsType: FsType): Promise<void> {
    this.calls.push(`${verb} ${fsType}`);
    await this.fail(verb);
  }

  private async fail(verb: string): Promise<void> {
    const failure = this.failures.get(verb);
    if (failure !== undefined) throw failure;
  }
}
