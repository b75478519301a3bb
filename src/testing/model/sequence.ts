import { rpcs } from "../rpc-client.js";
import { type Action, type Death, describeStep, type Step } from "./action.js";
import { assertEqual, type Call, targetPath } from "./call.js";
import { NodeCalls } from "./node-calls.js";
import { SnapshotCalls } from "./snapshot-calls.js";
import { ModelState, type ModelVolume, snapshotSlots, targetSlots, volumeSlots } from "./state.js";
import { VolumeCalls } from "./volume-calls.js";
import type { World } from "./world.js";

/** How much was done, over many sequences. */
export interface Tally {
  calls: number;
  deaths: number;
}

const readyMsMax = 60_000;
const readyIntervalMs = 20;

/** Leads the driver and the model through one sequence, and compares them after each step. */
export class Sequence {
  private readonly state = new ModelState();
  private readonly volumes: VolumeCalls;
  private readonly snapshots: SnapshotCalls;
  private readonly node: NodeCalls;
  private writes = 0;
  private refusedDeletions = 0;

  constructor(
    private readonly world: World,
    private readonly tally: Tally,
  ) {
    this.volumes = new VolumeCalls(this.state, world);
    this.snapshots = new SnapshotCalls(this.state, world);
    this.node = new NodeCalls(this.state, world);
  }

  /** Does all steps, removes everything, and fails when either is not as the model has it or anything is left. */
  async run(steps: readonly Step[]): Promise<void> {
    const before = await this.look();
    for (const [position, step] of steps.entries()) {
      await this.take(step).catch((cause: unknown) => {
        throw new Error(`step ${position + 1}, ${describeStep(step)}: ${messageOf(cause)}`, { cause });
      });
    }
    await this.removeAll().catch((cause: unknown) => {
      throw new Error(`removing everything: ${messageOf(cause)}`, { cause });
    });
    assertEqual("what is left of it", await this.look(), before);
  }

  private async take({ action, death }: Step): Promise<void> {
    if (action.do === "write") await this.write(action.volume, action.target);
    if (action.do === "read") await this.read(action.volume);
    const [call, ...more] = this.toCalls(action);
    // The driver takes two seconds to believe that a volume is in use.
    if (action.do === "delete" && call?.code !== "OK" && this.refusedDeletions++ > 0) return;
    if (death !== undefined) await this.world.armDeath(death.steps);
    if (call !== undefined) await this.perform(call, death);
    else if (death !== undefined) await this.die();
    for (const each of more) await this.perform(each, undefined);
  }

  private toCalls(action: Action): Call[] {
    switch (action.do) {
      case "create":
        return [this.volumes.create(action)];
      case "delete":
        return [this.volumes.delete(action.volume)];
      case "stage":
        return [this.node.stage(action.volume)];
      case "unstage":
        return [this.node.unstage(action.volume)];
      case "publish":
        return [this.node.publish(action.volume, action.target, action.readOnly)];
      case "unpublish":
        return [this.node.unpublish(action.volume, action.target)];
      case "expand":
        return [this.volumes.expand(action.volume, action.units)];
      case "node-expand":
        return [this.node.expand(action.volume)];
      case "modify":
        return [this.volumes.modify(action.volume, action.iops)];
      case "stats":
        return [this.node.stats(action.volume, action.target)];
      case "snapshot":
        return [this.snapshots.create(action.snapshot, action.volume)];
      case "delete-snapshot":
        return [this.snapshots.delete(action.snapshot)];
      case "group":
        return [this.snapshots.createGroup(action.volumes)];
      case "delete-group":
        return [this.snapshots.deleteGroup()];
      case "list":
        return [this.volumes.list(), this.snapshots.list()];
      default:
        return [];
    }
  }

  private async perform(call: Call, death: Death | undefined): Promise<void> {
    const answer = await this.ask(call);
    if (death !== undefined && (await this.die())) {
      const next = death.next === "give-up" && call.code === "OK" && call.undo !== undefined ? call.undo() : call;
      return this.settle(next, await this.ask(next));
    }
    this.settle(call, answer);
  }

  /** Sees to it that a driver that was to die has died. Whether it has before it answered. */
  private async die(): Promise<boolean> {
    this.tally.deaths++;
    if (await this.world.finishDeath()) return true;
    await this.world.kill();
    return false;
  }

  private async ask(call: Call) {
    this.tally.calls++;
    const answer = await this.world.client.call(call.method, call.request, { deadlineMs: 120_000 });
    // Whoever deletes the source of a copy that is under way is told to wait.
    if (answer.code === "OK" && /Snapshot$/.test(call.method.path)) await this.waitUntilReady();
    return answer;
  }

  private settle(call: Call, { code, message, response }: Awaited<ReturnType<Sequence["ask"]>>): void {
    const name = call.method.path.split("/").at(-1);
    if (code !== call.code) throw new Error(`${name} answered ${code} (${message}), expected ${call.code}`);
    if (code === "OK") call.apply?.(response);
  }

  // A driver that dies meanwhile is seen by the caller.
  private async waitUntilReady(): Promise<void> {
    const deadline = Date.now() + readyMsMax;
    for (;;) {
      const { code, response } = await this.world.client.call(rpcs.listSnapshots, {});
      if (code !== "OK" || response?.entries.every(({ snapshot }) => snapshot?.readyToUse === true)) return;
      if (Date.now() > deadline) throw new Error(`a snapshot is not ready after ${readyMsMax} ms`);
      await new Promise((resolve) => setTimeout(resolve, readyIntervalMs));
    }
  }

  private async write(slot: number, target: number): Promise<void> {
    const volume = this.state.volumes.get(slot);
    if (volume?.targets.get(target) !== false) return;
    const token = `write ${++this.writes} to volume ${slot}`;
    await this.world.write(this.placeOf(volume, slot, target), token);
    volume.token = token;
  }

  /** At every place where the volume is to be seen. */
  private async read(slot: number): Promise<void> {
    const volume = this.state.volumes.get(slot);
    for (const target of volume?.targets.keys() ?? []) {
      if (volume === undefined) continue;
      assertEqual(
        `what is read at target ${target}`,
        await this.world.read(this.placeOf(volume, slot, target)),
        volume.token,
      );
    }
  }

  private placeOf({ id: volumeId, access, pool }: ModelVolume, slot: number, target: number) {
    return { volumeId, access, pool, path: targetPath(this.world, slot, target) };
  }

  /** As the last caller does who wants to have nothing left; what volumes hold is read once more. */
  private async removeAll(): Promise<void> {
    for (const call of [this.volumes.list(), this.snapshots.list()]) await this.perform(call, undefined);
    for (const slot of volumeSlots) {
      await this.read(slot);
      for (const target of targetSlots) await this.perform(this.node.unpublish(slot, target), undefined);
      await this.perform(this.node.unstage(slot), undefined);
    }
    await this.perform(this.snapshots.deleteGroup(), undefined);
    for (const slot of snapshotSlots) await this.perform(this.snapshots.delete(slot), undefined);
    for (const slot of volumeSlots) await this.perform(this.volumes.delete(slot), undefined);
  }

  private async look(): Promise<string[]> {
    const { response } = await this.world.client.call(rpcs.getCapacity, { parameters: { pool: "memory" } });
    return [...(await this.world.listTraces()), `${response?.availableCapacity} bytes available in memory`];
  }
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}
