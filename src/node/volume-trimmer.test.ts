import { rmdir, utimes } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import type { Volume } from "../pools/volume/volume.js";
import { createGate } from "../testing/gate.js";
import { mebibyte, mountCapability, Workspace } from "../testing/workspace.js";
import { TrimSchedule } from "./trim-schedule.js";
import { VolumeStager } from "./volume-stager.js";

let workspace: Workspace;
let stager: VolumeStager;
let stagingPath: string;
let volume: Volume;

beforeEach(async () => {
  workspace = await Workspace.create();
  workspace.filesystems.unusedBytes = mebibyte;
  stager = new VolumeStager(workspace);
  stagingPath = await workspace.makeDirectory("targets", "staging");
});

afterEach(() => workspace.remove());

async function createStaged(parameters: Record<string, string>): Promise<void> {
  const range = { requiredBytes: 2n * mebibyte };
  const request = { name: "data", range, capabilities: [mountCapability], parameters };
  volume = await workspace.provisioner.create({ ...request, parameters: { provisioning: "thin", ...parameters } });
  await stager.stage({ volumeId: volume.id, stagingPath, capability: mountCapability, secrets: {} });
}

const mark = () => workspace.pools.poolOf(volume).mark(volume.id, "trimmed");
const trims = () => workspace.filesystems.calls.filter((call) => call === `trim ${stagingPath}`).length;

/** As if it had been trimmed so long ago. */
async function trimmedBefore(minutes: number): Promise<void> {
  await mark().set();
  const seconds = Date.now() / 1000 - minutes * 60;
  await utimes(mark().path, seconds, seconds);
}

describe("at unstage", () => {
  test("a volume whose class says so is trimmed before it is unmounted, and that is counted", async () => {
    await createStaged({ trimAtUnstage: "true" });
    await stager.unstage(volume.id, stagingPath);
    expect(trims()).toBe(1);
    expect(workspace.trimmer.totals).toMatchObject({ runCount: 1, failureCount: 0, trimmedBytes: mebibyte });
    expect(workspace.mounter.entries).toEqual([]);
  });

  test("any other is not", async () => {
    await createStaged({});
    await stager.unstage(volume.id, stagingPath);
    expect(trims()).toBe(0);
  });

  test("a failure is counted and stops nothing", async () => {
    await createStaged({ trimAtUnstage: "true" });
    workspace.filesystems.failures.set("trim", new Error("not supported"));
    await stager.unstage(volume.id, stagingPath);
    expect(workspace.trimmer.totals).toMatchObject({ runCount: 0, failureCount: 1 });
    expect(workspace.mounter.entries).toEqual([]);
  });
});

describe("on schedule", () => {
  let schedule: TrimSchedule;
  beforeEach(() => {
    schedule = new TrimSchedule(workspace);
  });

  test("a volume is trimmed when its interval has passed, and then not until it has passed again", async () => {
    await createStaged({ trimInterval: "1h" });
    await schedule.runPass();
    expect(trims()).toBe(0); // it is new
    await trimmedBefore(61);
    await schedule.runPass();
    await schedule.runPass();
    expect(trims()).toBe(1);
  });

  test("a volume that is not mounted waits", async () => {
    await createStaged({ trimInterval: "1h" });
    await stager.unstage(volume.id, stagingPath);
    await trimmedBefore(61);
    await schedule.runPass();
    expect(trims()).toBe(0);
  });

  test("unstaging ends a trim that is going on, which is due again later", async () => {
    await createStaged({ trimInterval: "1h" });
    await trimmedBefore(61);
    const begun = createGate();
    workspace.filesystems.trimming = (signal) =>
      new Promise((_resolve, reject) => {
        signal.addEventListener("abort", () => reject(new Error("killed by SIGKILL")));
        begun.open();
      });
    const pass = schedule.runPass();
    await begun.opened;
    const before = await mark().findTimeMs();
    await stager.unstage(volume.id, stagingPath);
    await pass;
    expect(workspace.mounter.entries).toEqual([]);
    expect(workspace.trimmer.totals).toMatchObject({ runCount: 0, failureCount: 0 });
    expect(await mark().findTimeMs()).toBe(before);
  });

  test("never two at a time for one volume", async () => {
    await createStaged({ trimInterval: "1h" });
    const [begun, end] = [createGate(), createGate()];
    workspace.filesystems.trimming = async () => {
      begun.open();
      await end.opened;
    };
    const request = { volume, mountPoint: stagingPath, timeoutMs: 1000 };
    const first = workspace.trimmer.trim(request);
    await begun.opened;
    expect(await workspace.trimmer.trim(request)).toBe("stopped");
    end.open();
    expect(await first).toBe("done");
  });

  test("a stop ends the trim that is going on, and begins no other", async () => {
    await createStaged({ trimInterval: "1h" });
    await trimmedBefore(61);
    const begun = createGate();
    workspace.filesystems.trimming = (signal) =>
      new Promise((_resolve, reject) => {
        signal.addEventListener("abort", () => reject(new Error("killed by SIGKILL")));
        begun.open();
      });
    void schedule.runPass();
    await begun.opened;
    expect(await schedule.stop(10_000)).toBe(true);
    await schedule.runPass();
    expect(trims()).toBe(1);
  });

  test("a stop waits so long, and no longer, for a trim that hangs in the kernel", async () => {
    await createStaged({ trimInterval: "1h" });
    await trimmedBefore(61);
    const [begun, end] = [createGate(), createGate()];
    workspace.filesystems.trimming = async () => {
      begun.open();
      await end.opened;
    };
    const pass = schedule.runPass();
    await begun.opened;
    expect(await schedule.stop(1)).toBe(false);
    end.open();
    await pass;
    expect(await schedule.stop(1)).toBe(true);
  });

  test("a stop while a volume is looked at leaves it untrimmed", async () => {
    await createStaged({ trimInterval: "1h" });
    await trimmedBefore(61);
    const find = workspace.blockDevices.find.bind(workspace.blockDevices);
    const stopped = createGate();
    workspace.blockDevices.find = async (volumeId) => {
      void schedule.stop(10_000).then(stopped.open);
      return await find(volumeId);
    };
    await schedule.runPass();
    await stopped.opened;
    expect(trims()).toBe(0);
  });

  test("a volume whose mark cannot be set, as in a full pool, waits for its next turn all the same", async () => {
    await createStaged({ trimInterval: "1h" });
    await trimmedBefore(61);
    const obstacle = await workspace.makeDirectory("disk", "volumes", volume.id, "trimmed.tmp");
    for (let tick = 0; tick < 3; tick++) await schedule.runPass();
    expect(trims()).toBe(1);
    await rmdir(obstacle);
    await schedule.runPass();
    expect(trims()).toBe(1);
  });
});
