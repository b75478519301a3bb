import { lstat } from "node:fs/promises";
import { basename } from "node:path";
import { DriverError } from "../../errors.js";
import type { MountEntry } from "../../system/mountinfo.js";
import type { FilesystemSpace } from "../mounts/filesystem-space.js";
import type { BindRequest, Mounter, MountRequest } from "../mounts/mounter.js";

/**
 * A mount table without a kernel. It knows fake devices by their names (`ublkb3` has number 259:3, `dm-3` 253:3) and demands, as the
 * kernel does, that source and target exist.
 */
export class FakeMounter implements Mounter {
  /** The table; tests may add what somebody else mounted. */
  readonly entries: MountEntry[] = [];
  /** Paths of the devices that refuse writes. */
  readonly readOnlyDevices = new Set<string>();
  /** When set, the next mount or bind fails with it. */
  failure: Error | undefined;
  /** Paths whose mounts cannot be taken away, but lazily. */
  readonly busyTargets = new Set<string>();
  /** Numbers of devices that are gone while their mounts are still there. */
  readonly lostDevices = new Set<string>();
  /** Numbers of mappings on devices that are gone. */
  readonly lostBases = new Set<string>();
  /** Paths of mounts that cannot be looked into, and why. */
  readonly accessFaults = new Map<string, string>();
  /** Paths of mounts whose disks do not answer. */
  readonly silentPaths = new Set<string>();
  /** Names of mappings by their number. */
  readonly mappingNames = new Map<string, string>();
  /** Whether the kernel labels files; without it mount(8) leaves labels out. */
  seLinux = false;
  /** What the kernel makes of the options of a mount; tests may have it ignore some. */
  toKernelOptions = (options: readonly string[]): readonly string[] => options;
  private anonymousCount = 0;

  async list(): Promise<MountEntry[]> {
    return [...this.entries];
  }

  async mount({ source, target, fsType, ...request }: MountRequest): Promise<void> {
    this.failOnce();
    await assertExists(source, target);
    const options = this.toKernelOptions(request.options);
    const access = options.includes("ro") ? "ro" : "rw";
    const number = numberOf(source);
    if (number === undefined) throw new Error(`fake mount: ${source} is not a block device`);
    const deviceNumber = fsType === "btrfs" ? this.anonymousNumberOf(source) : number;
    const others = options.filter((option) => option !== "ro" && !option.startsWith("context="));
    const superOptions = [access, ...this.labelsOf(options)];
    const entry = { deviceNumber, root: "/", mountPoint: target, fsType, source, superOptions };
    this.entries.push({ ...entry, options: [access, ...others] });
  }

  async bind({ source, target, readOnly }: BindRequest): Promise<void> {
    this.failOnce();
    await assertExists(source, target);
    const options = [readOnly ? "ro" : "rw"];
    const original = this.entries.findLast((entry) => entry.mountPoint === source);
    const devtmpfs = { deviceNumber: "0:5", fsType: "devtmpfs", source: "udev", superOptions: ["rw"] };
    const node = { ...devtmpfs, root: `/${basename(source)}` };
    this.entries.push({ ...(original ?? node), mountPoint: target, options });
  }

  async unmount(target: string, { lazy = false }: { lazy?: boolean } = {}): Promise<void> {
    const position = this.entries.findLastIndex((entry) => entry.mountPoint === target);
    if (position < 0) throw new Error(`fake umount: ${target}: not mounted`);
    if (this.busyTargets.has(target) && !lazy) throw new Error(`fake umount: ${target}: target is busy`);
    this.entries.splice(position, 1);
  }

  async findDeviceNumber(path: string): Promise<string | undefined> {
    const bound = this.entries.findLast((entry) => entry.mountPoint === path);
    return numberOf(bound === undefined ? path : bound.root);
  }

  async hasDevice(number: string): Promise<boolean> {
    return !this.lostDevices.has(number);
  }

  async hasLostBase(number: string): Promise<boolean> {
    return this.lostBases.has(number);
  }

  async findMappingName(number: string): Promise<string | undefined> {
    return this.mappingNames.get(number);
  }

  async isHeld(devicePath: string): Promise<boolean> {
    const number = numberOf(devicePath);
    return number !== undefined && !this.lostDevices.has(number) && this.uses(devicePath);
  }

  async findAccessFault(path: string): Promise<string | undefined> {
    this.assertAnswers(path);
    return this.accessFaults.get(path);
  }

  async readSpace(path: string): Promise<FilesystemSpace> {
    this.assertAnswers(path);
    const blocks = { blockSizeBytes: 4096n, blockCount: 100n, freeBlockCount: 60n, availableBlockCount: 50n };
    return { ...blocks, inodeCount: 16n, freeInodeCount: 5n };
  }

  async setDeviceReadOnly(devicePath: string, readOnly: boolean): Promise<void> {
    await assertExists(devicePath);
    if (readOnly) this.readOnlyDevices.add(devicePath);
    else this.readOnlyDevices.delete(devicePath);
  }

  /** Whether a device's node or its file system is mounted anywhere. */
  uses(devicePath: string): boolean {
    const node = `/${basename(devicePath)}`;
    return this.entries.some((entry) => entry.source === devicePath || entry.root === node);
  }

  /** As when a device goes away below the node that is bound to a path: its name in /dev goes with it, and comes again with the next. */
  deleteNode(mountPoint: string): void {
    const position = this.entries.findLastIndex((entry) => entry.mountPoint === mountPoint);
    const entry = this.entries[position];
    if (entry === undefined) throw new Error(`fake mounter: nothing is bound to ${mountPoint}`);
    this.entries[position] = { ...entry, root: `${entry.root}//deleted` };
  }

  private assertAnswers(path: string): void {
    if (this.silentPaths.has(path)) throw new DriverError("unavailable", `${path} has not answered for 5 s`);
  }

  private anonymousNumberOf(source: string): string {
    return this.entries.find((entry) => entry.source === source)?.deviceNumber ?? `0:${40 + this.anonymousCount++}`;
  }

  private labelsOf(options: readonly string[]): string[] {
    if (!this.seLinux) return [];
    return (options.find((option) => option.startsWith("context=")) ?? "seclabel").split(",");
  }

  private failOnce(): void {
    const { failure } = this;
    this.failure = undefined;
    if (failure !== undefined) throw failure;
  }
}

function numberOf(path: string): string | undefined {
  const match = /\/(ublkb|dm-)(\d+)(?:\/\/deleted)?$/.exec(path);
  return match === null ? undefined : `${match[1] === "ublkb" ? 259 : 253}:${match[2]}`;
}

async function assertExists(...paths: string[]): Promise<void> {
  for (const path of paths) await lstat(path);
}
