import { readdir, truncate } from "node:fs/promises";
import { expect, test } from "@jest/globals";
import { deviceStates } from "../ublk/testing/fake-kernel.js";
import type { BlockDeviceSpec } from "./block-devices.js";
import { CrashPoint } from "./testing/crash-point.js";
import { FakeNode, toSpec } from "./testing/fake-node.js";
import type { UblkBlockDevices } from "./ublk-block-devices.js";

const mebibyte = 1 << 20;

type Operation = (engine: UblkBlockDevices, spec: BlockDeviceSpec) => Promise<unknown>;

interface Trial {
  node: FakeNode;
  spec: BlockDeviceSpec;
  foreign: unknown;
}

const foreignId = 0;

/** A node with a foreign device that waits for its own server, which is what a careless adoption would take. */
async function createTrial(): Promise<Trial> {
  const node = await FakeNode.create();
  const foreign = structuredClone(node.kernel.addForeign({ state: deviceStates.quiesced }));
  return { node, spec: toSpec("one", await node.createImage("image", mebibyte), mebibyte), foreign };
}

/** Starts over after the crash and checks that nothing is orphaned, lost or taken. Ends with an empty node. */
async function expectRecovery({ node, spec, foreign }: Trial): Promise<string> {
  CrashPoint.disarm(node.kernel);
  node.addon.kill();
  const next = node.startEngine();
  const { entries } = await next.adopt();
  expect(entries.filter(({ action }) => action === "failed")).toEqual([]);
  const ours = node.kernel.deviceIds().filter((deviceId) => deviceId !== foreignId);
  expect((await next.list()).map(({ deviceId }) => deviceId)).toEqual(ours);
  for (const deviceId of ours) {
    expect(node.kernel.devices.get(deviceId)).toMatchObject({ state: deviceStates.live, serverPid: node.addon.pid });
  }
  await next.attach(spec);
  await next.detach("one");
  expect(node.kernel.deviceIds()).toEqual([foreignId]);
  expect(node.kernel.devices.get(foreignId)).toEqual(foreign);
  expect(await readdir(node.journalFolder)).toEqual([]);
  return entries[0]?.action ?? "none";
}

/** Crashes the operation after its first step, its second, and so on, until it gets through. Returns the steps. */
async function crashEverywhere(prepare: Operation, operation: Operation): Promise<Record<string, string>> {
  const seen: Record<string, string> = {};
  for (let steps = 0; ; steps++) {
    const trial = await createTrial();
    const point = new CrashPoint();
    const engine = trial.node.startEngine((journal) => point.wrap(journal));
    await prepare(engine, trial.spec);
    point.arm(trial.node.kernel, steps);
    await operation(engine, trial.spec).catch(() => {});
    const step = point.crashedAfter;
    const action = await expectRecovery(trial);
    await trial.node.destroy();
    if (step === undefined) return seen;
    seen[step] = action;
  }
}

const attach: Operation = (engine, spec) => engine.attach(spec);

test("a crash after any step of attach leaves nothing orphaned and nothing foreign touched", async () => {
  expect(await crashEverywhere(async () => {}, attach)).toEqual({
    "journal adding": "removed",
    ADD_DEV: "removed",
    SET_PARAMS: "removed",
    START_DEV: "removed",
    "journal serving": "adopted",
  });
});

test("a crash after any step of detach leaves nothing orphaned and nothing foreign touched", async () => {
  expect(await crashEverywhere(attach, (engine) => engine.detach("one"))).toEqual({
    TRY_STOP_DEV: "removed",
    DEL_DEV: "removed",
    "journal remove": "none",
  });
});

test("a crash after any step of an adoption leaves a device that the next one takes", async () => {
  const node = await FakeNode.create();
  const spec = toSpec("one", await node.createImage("image", mebibyte), mebibyte);
  const device = await node.startEngine().attach(spec);
  const seen: string[] = [];
  for (let steps = 0; seen.length === steps; steps++) {
    const point = new CrashPoint();
    node.addon.kill();
    const engine = node.startEngine((journal) => point.wrap(journal));
    point.arm(node.kernel, steps);
    await engine.adopt().catch(() => {});
    if (point.crashedAfter !== undefined) seen.push(point.crashedAfter);
    CrashPoint.disarm(node.kernel);
  }
  expect(seen).toEqual(["START_USER_RECOVERY", "END_USER_RECOVERY", "journal serving"]);
  node.addon.kill();
  const last = node.startEngine();
  expect(await last.adopt()).toMatchObject({ entries: [{ action: "adopted" }] });
  expect(await last.find("one")).toEqual(device);
  await node.destroy();
});

test("a crash after any step of close leaves a used device to the next engine", async () => {
  for (let steps = 0; ; steps++) {
    const trial = await createTrial();
    const point = new CrashPoint();
    const engine = trial.node.startEngine((journal) => point.wrap(journal));
    await engine.attach(trial.spec);
    trial.node.users.set(1, [{ kind: "mount", name: "/mnt" }]);
    point.arm(trial.node.kernel, steps);
    await engine.close();
    trial.node.users.clear();
    expect(await expectRecovery(trial)).toBe("adopted");
    await trial.node.destroy();
    if (point.crashedAfter === undefined) break;
  }
});

test("a crash after any step of a resize leaves the old size or the new, and the same resize gets through", async () => {
  const seen: [string, bigint][] = [];
  for (let steps = 0; ; steps++) {
    const trial = await createTrial();
    const point = new CrashPoint();
    const engine = trial.node.startEngine((journal) => point.wrap(journal));
    await engine.attach(trial.spec);
    await truncate(trial.spec.image.path, 2 * mebibyte);
    const sizeBytes = 2n * trial.spec.sizeBytes;
    point.arm(trial.node.kernel, steps);
    await engine.resize("one", sizeBytes).catch(() => {});
    CrashPoint.disarm(trial.node.kernel);
    trial.node.addon.kill();
    const next = trial.node.startEngine();
    expect(await next.adopt()).toMatchObject({ entries: [{ volumeId: "one", action: "adopted" }] });
    const found = await next.find("one");
    const step = point.crashedAfter;
    if (step !== undefined && found) seen.push([step, found.sizeBytes]);
    expect(await next.resize("one", sizeBytes)).toMatchObject({ sizeBytes });
    expect(await next.attach({ ...trial.spec, sizeBytes })).toMatchObject({ sizeBytes });
    await trial.node.destroy();
    if (step === undefined) break;
  }
  const [small, large] = [BigInt(mebibyte), BigInt(2 * mebibyte)];
  expect(seen).toEqual([
    ["journal serving", small],
    ["GROW_TARGET", small],
    ["UPDATE_SIZE", large],
    ["journal serving", large],
  ]);
});
