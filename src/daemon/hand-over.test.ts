import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { waitFor } from "../engine/devices/block-nodes.js";
import { toSpec } from "../engine/testing/fake-node.js";
import type { UblkBlockDevices } from "../engine/ublk-block-devices.js";
import { createSilentLogger } from "../log.js";
import { createGate } from "../testing/gate.js";
import type { FakeAddon } from "../ublk/testing/fake-addon.js";
import { HandOverGiver } from "./hand-over-giver.js";
import { HandOverTaker, OldEngineLost } from "./hand-over-taker.js";
import { ServedEngine } from "./testing/served-engine.js";

const mebibyte = 1 << 20;
const names = ["one", "two", "three"];

let served: ServedEngine;
let old: UblkBlockDevices;
let successor: UblkBlockDevices;
let oldPid: number;
let oldAddon: FakeAddon;
let successorPid: number;
let taker: HandOverTaker;

beforeEach(async () => {
  served = await ServedEngine.start();
  old = served.engine;
  for (const name of names) await old.attach(toSpec(name, await served.node.createImage(name, mebibyte), mebibyte));
  oldAddon = served.node.addon;
  oldPid = oldAddon.pid;
  successor = served.node.startEngine();
  successorPid = served.node.addon.pid;
  taker = new HandOverTaker(served.socketPath);
});

afterEach(async () => {
  taker.close();
  await successor.leave();
  await served.destroy();
});

const statesAndServers = () =>
  [...served.node.kernel.devices.values()].map(({ state, serverPid }) => ({ state, serverPid }));
const allServedBy = (pid: number) => names.map(() => ({ state: 1, serverPid: pid }));

/** The old engine serves everything and takes orders again. */
async function expectTakenBack(): Promise<void> {
  const isBack = async () => statesAndServers().every(({ state, serverPid }) => state === 1 && serverPid === oldPid);
  expect(await waitFor(isBack, { timeoutMs: 10_000 })).toBe(true);
  const accepts = () =>
    old.setLimits("one", { iops: 9 }).then(
      () => true,
      () => false,
    );
  expect(await waitFor(accepts, { timeoutMs: 10_000 })).toBe(true);
  expect(served.handedOverCount).toBe(0);
}

describe("a hand-over", () => {
  test("gives every device to the new engine, one after another, and says when it is done", async () => {
    served.node.kernel.steps.length = 0;
    await taker.takeAll(successor);
    expect(statesAndServers()).toEqual(allServedBy(successorPid));
    expect(served.node.kernel.steps.filter((step) => /QUIESCE|END_USER/.test(step))).toEqual(
      [0, 1, 2].flatMap((id) => [`QUIESCE_DEV ${id}`, `END_USER_RECOVERY ${id}`]),
    );
    await taker.complete();
    expect(await waitFor(async () => served.handedOverCount === 1, { timeoutMs: 10_000 })).toBe(true);
    await expect(old.detach("one")).rejects.toMatchObject({ code: "unavailable" });
    expect(await successor.list()).toHaveLength(3);
  });

  test("where the kernel has no QUIESCE releases the device instead", async () => {
    served.node.kernel.features &= ~(1n << 12n);
    await old.attach(toSpec("four", await served.node.createImage("four", mebibyte), mebibyte));
    await taker.takeAll(successor);
    expect(served.node.kernel.steps).toContain("RELEASE 3");
    expect(statesAndServers()).toEqual([...allServedBy(successorPid), { state: 1, serverPid: successorPid }]);
  });

  test("is undone when the new engine gives up in the middle", async () => {
    const broken = {
      plan: () => successor.plan(),
      recover: async (volumeId: string) => {
        if (volumeId === "two") return { volumeId, action: "failed" as const, reason: "no memory" };
        return await successor.recover(volumeId);
      },
    };
    await expect(taker.takeAll(broken)).rejects.toThrow("the device of volume two cannot be taken: no memory");
    taker.close();
    await successor.leave();
    await expectTakenBack();
  });

  test("is undone when the new engine dies in the middle", async () => {
    const dying = {
      plan: () => successor.plan(),
      recover: async (volumeId: string) => {
        if (volumeId !== "three") return await successor.recover(volumeId);
        served.node.addon.kill();
        taker.close();
        throw new Error("killed");
      },
    };
    await expect(taker.takeAll(dying)).rejects.toThrow("killed");
    await expectTakenBack();
  });

  test("is known to be lost when the old engine dies in the middle", async () => {
    const target = {
      plan: () => successor.plan(),
      recover: async (volumeId: string) => {
        if (volumeId === "two") await served.server.stop(0);
        return await successor.recover(volumeId);
      },
    };
    await expect(taker.takeAll(target)).rejects.toBeInstanceOf(OldEngineLost);
  });

  test("is broken off for good when the old engine is told to end in the middle", async () => {
    let stopped: Promise<void> | undefined;
    const target = {
      plan: () => successor.plan(),
      recover: async (volumeId: string) => {
        if (volumeId === "two") stopped = served.server.stop(1_000).then(() => old.leave());
        return await successor.recover(volumeId);
      },
    };
    await expect(taker.takeAll(target)).rejects.toBeInstanceOf(OldEngineLost);
    await stopped;
    expect(statesAndServers().filter(({ state, serverPid }) => state === 1 && serverPid === oldPid)).toEqual([]);
    await expect(old.takeBack()).rejects.toMatchObject({ code: "unavailable" });
    await expect(old.detach("one")).rejects.toThrow("the engine is shutting down");
    await successor.adopt();
    expect(statesAndServers()).toEqual(allServedBy(successorPid));
  });

  test("is undone at once for the others when the new engine goes away while a device lets go", async () => {
    const gate = createGate();
    const entered = createGate();
    const quiesce = oldAddon.quiesceDevice.bind(oldAddon);
    oldAddon.quiesceDevice = async (handle, timeoutMs) => {
      if (oldAddon.deviceIdOf(handle) !== 1) return await quiesce(handle, timeoutMs);
      entered.open();
      await gate.opened;
      await quiesce(handle, timeoutMs);
    };
    const taken = taker.takeAll(successor).catch(() => "failed");
    await entered.opened;
    taker.close();
    expect(await taken).toBe("failed");
    await successor.leave();
    const isBack = async () => statesAndServers().every(({ serverPid }) => serverPid === oldPid);
    expect(await waitFor(isBack, { timeoutMs: 10_000 })).toBe(true);
    gate.open();
    expect(await waitFor(async () => (await old.find("two"))?.state === "quiesced", { timeoutMs: 10_000 })).toBe(true);
    await expectTakenBack();
  });

  test("waits until no device is frozen, and changes nothing before", async () => {
    const token = await old.freeze(["two"], { deadlineMs: 60_000 });
    await expect(taker.takeAll(successor)).rejects.toMatchObject({ code: "frozen" });
    expect(statesAndServers()).toEqual(allServedBy(oldPid));
    await old.thaw(["two"], token);
  });

  test("is not begun by an engine whose journal lacks a device", async () => {
    const stranger = {
      plan: async () => (await successor.plan()).slice(1),
      recover: () => Promise.reject(new Error("bug")),
    };
    await expect(taker.takeAll(stranger)).rejects.toThrow(/this journal does not know it: is --state-dir the same\?/);
    taker.close();
    await expectTakenBack();
  });

  test("is not had twice at a time", async () => {
    const second = new HandOverTaker(served.socketPath);
    const target = {
      plan: () => successor.plan(),
      recover: async (volumeId: string) => {
        if (volumeId === "one")
          await expect(second.takeAll(successor)).rejects.toThrow("another hand-over is going on");
        return await successor.recover(volumeId);
      },
    };
    await taker.takeAll(target);
    second.close();
  });

  test("ends a new engine that keeps devices and neither goes on nor lets go", async () => {
    const killed: number[] = [];
    const { kernel, addon } = served.node;
    const giver = new HandOverGiver({
      source: old,
      logger: createSilentLogger(),
      onFinished: () => {},
      silenceMsMax: 1_000, // longer than taking the first device takes on a busy machine
      eviction: {
        holdsOneOf: async (_processId, deviceIds) => deviceIds.includes(0),
        kill: (processId) => {
          killed.push(processId);
          addon.kill();
        },
      },
    });
    await served.serveHandOver(giver);
    await served.connect().list(); // connected to the new socket
    const hung = {
      plan: () => successor.plan(),
      recover: async (volumeId: string) => {
        if (volumeId === "one") return await successor.recover(volumeId);
        return await new Promise<never>(() => {});
      },
    };
    new HandOverTaker(served.socketPath).takeAll(hung).catch(() => {}); // it never learns
    const isBack = async () =>
      kernel.deviceIds().length === 3 && statesAndServers().every(({ serverPid }) => serverPid === oldPid);
    expect(await waitFor(async () => killed.length > 0 && (await isBack()), { timeoutMs: 20_000 })).toBe(true);
    expect(killed).toEqual([process.pid]);
    await expectTakenBack();
  });
});
