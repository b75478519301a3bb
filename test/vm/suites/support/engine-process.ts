import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import type {
  AdoptionReport,
  BlockDevice,
  BlockDeviceCapabilities,
  BlockDeviceEvent,
  BlockDeviceLimits,
  BlockDeviceListener,
  BlockDeviceSpec,
  BlockDeviceStats,
  BlockDevices,
  FreezeToken,
  ImageCopy,
  ImageCopySpec,
} from "../../../../src/engine/block-devices.js";
import { EventHub } from "../../../../src/engine/devices/event-hub.js";
import { repositoryPath } from "./repository.js";

interface Answer {
  id: number;
  value?: unknown;
  failure?: { name: string; code: string; message: string };
}

const script = join(repositoryPath, "test/vm/suites/support/serve-engine.js");

/** An engine in a process of its own, which can be killed. */
export class EngineProcess implements BlockDevices {
  private readonly child: ChildProcess;
  private readonly pending = new Map<number, (answer: Answer) => void>();
  private readonly events = new EventHub();
  private lastId = 0;

  constructor(journalFolder: string) {
    // Advanced serialization carries bigints.
    this.child = fork(script, [journalFolder], { serialization: "advanced", execArgv: [] });
    this.child.on("message", (message: Answer | { event: BlockDeviceEvent }) => {
      if ("event" in message) this.events.emit(message.event);
      else this.pending.get(message.id)?.(message);
    });
  }

  attach = (spec: BlockDeviceSpec) => this.call<BlockDevice>("attach", spec);
  detach = (volumeId: string) => this.call<void>("detach", volumeId);
  find = (volumeId: string) => this.call<BlockDevice | undefined>("find", volumeId);
  list = () => this.call<BlockDevice[]>("list");
  listVolumeIds = () => this.call<string[]>("listVolumeIds");
  resize = (volumeId: string, sizeBytes: bigint) => this.call<BlockDevice>("resize", volumeId, sizeBytes);
  setLimits = (volumeId: string, limits: BlockDeviceLimits) => this.call<void>("setLimits", volumeId, limits);
  capabilities = () => this.call<BlockDeviceCapabilities>("capabilities");
  freeze = (volumeIds: readonly string[], options: { deadlineMs: number }) =>
    this.call<FreezeToken>("freeze", volumeIds, options);
  thaw = (volumeIds: readonly string[], token: FreezeToken) => this.call<void>("thaw", volumeIds, token);
  startCopies = (specs: readonly ImageCopySpec[], options: { deadlineMs: number }) =>
    this.call<void>("startCopies", specs, options);
  findCopy = (copyId: string) => this.call<ImageCopy | undefined>("findCopy", copyId);
  endCopy = (copyId: string) => this.call<void>("endCopy", copyId);
  stats = (volumeId: string) => this.call<BlockDeviceStats>("stats", volumeId);
  adopt = () => this.call<AdoptionReport>("adopt");
  close = () => this.call<void>("close");

  onEvent(listener: BlockDeviceListener): () => void {
    return this.events.add(listener);
  }

  get isRunning(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null;
  }

  /** Dies as in a crash. */
  async kill(): Promise<void> {
    if (!this.isRunning) return;
    const exited = once(this.child, "exit");
    this.child.kill("SIGKILL");
    await exited;
  }

  private async call<T>(method: keyof BlockDevices, ...args: unknown[]): Promise<T> {
    const id = ++this.lastId;
    const answered = new Promise<Answer>((resolve) => this.pending.set(id, resolve));
    this.child.send({ id, method, args });
    const { value, failure } = await answered;
    this.pending.delete(id);
    if (failure) throw Object.assign(new Error(failure.message), failure);
    return value as T;
  }
}
