import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, jest, test } from "@jest/globals";
import { DriverError } from "../errors.js";
import { createGate } from "../testing/gate.js";
import { rejectionOf } from "../testing/workspace.js";
import { createChain } from "./chain.js";
import type { AnyHandler } from "./handler.js";
import { KeyedLock } from "./keyed-lock.js";
import { withVolumeLock } from "./locking.js";
import { Code, toStatus } from "./status.js";
import { createContext } from "./testing/call-context.js";

describe("the volume lock", () => {
  const names = new Map([["id-1", "data"]]);

  async function overlaps(left: [string, object], right: [string, object]): Promise<boolean> {
    let running = 0;
    let highest = 0;
    const handler: AnyHandler = async () => {
      highest = Math.max(highest, ++running);
      await sleep(5);
      running--;
      return {};
    };
    const locked = withVolumeLock(new KeyedLock(1_000), (_kind, id) => names.get(id))(handler);
    await Promise.all([left, right].map(([method, request]) => locked(request, createContext({ method }))));
    return highest > 1;
  }

  test.each<[string, [string, object], [string, object], boolean]>([
    [
      "two node operations on a volume",
      ["Node/NodeStageVolume", { volumeId: "id-1" }],
      ["Node/NodeUnstageVolume", { volumeId: "id-1" }],
      false,
    ],
    [
      "creating and deleting the same volume",
      ["Controller/CreateVolume", { name: "data" }],
      ["Controller/DeleteVolume", { volumeId: "id-1" }],
      false,
    ],
    [
      "creating a volume twice",
      ["Controller/CreateVolume", { name: "new" }],
      ["Controller/CreateVolume", { name: "new" }],
      false,
    ],
    [
      "operations on two volumes",
      ["Node/NodeStageVolume", { volumeId: "id-1" }],
      ["Node/NodeStageVolume", { volumeId: "id-2" }],
      true,
    ],
    [
      "a question and an operation",
      ["Node/NodeGetVolumeStats", { volumeId: "id-1" }],
      ["Node/NodeStageVolume", { volumeId: "id-1" }],
      true,
    ],
    ["operations without a volume", ["Identity/Probe", {}], ["Identity/Probe", {}], true],
  ])("%s", async (_case, left, right, expected) => {
    expect(await overlaps(left, right)).toBe(expected);
  });
});

describe("a call that equals one which is not done", () => {
  const request = { volumeId: "id-1", secrets: { a: "1", b: "2" }, sizeBytes: 5n };

  function createSlow(options = { lock: new KeyedLock(20), handlingMsMax: 50 }) {
    const gate = createGate();
    const handler = jest.fn(async () => {
      await gate.opened;
      return { done: true };
    });
    return { gate, handler, call: createChain({ ...options, findName: () => undefined })(handler) };
  }

  test("joins it: the work is done once, and a caller who came back after its deadline has the answer", async () => {
    const { gate, handler, call } = createSlow();
    expect(toStatus(await rejectionOf(call(request, createContext())))).toMatchObject({ code: Code.DEADLINE_EXCEEDED });
    const joined = call({ ...request, secrets: { b: "2", a: "1" } }, createContext());
    gate.open();
    await expect(joined).resolves.toEqual({ done: true });
    expect(handler).toHaveBeenCalledTimes(1);
    await expect(call(request, createContext())).resolves.toEqual({ done: true });
    expect(handler).toHaveBeenCalledTimes(2);
  });

  test.each([
    ["method", {}, { method: "Node/NodeUnstageVolume" }],
    ["secret", { secrets: { a: "1", b: "3" } }, {}],
    ["size", { sizeBytes: 6n }, {}],
  ])("in all but the %s does not", async (_what, change, context) => {
    const { gate, handler, call } = createSlow({ lock: new KeyedLock(20), handlingMsMax: 60_000 });
    const first = call(request, createContext());
    const other = rejectionOf(call({ ...request, ...change }, createContext(context)));
    expect(toStatus(await other)).toMatchObject({ code: Code.ABORTED });
    gate.open();
    await first;
    expect(handler).toHaveBeenCalledTimes(1);
  });

  function createOrdered() {
    const [gate, order] = [createGate(), [] as string[]];
    const handler: AnyHandler = async (request) => {
      order.push((request as { name: string }).name);
      await gate.opened;
      return {};
    };
    const call = createChain({ lock: new KeyedLock(1_000), handlingMsMax: 60_000, findName: () => undefined })(handler);
    const modify = (volumeId: string, name: string) =>
      call({ volumeId, name }, createContext({ method: "Controller/ControllerModifyVolume" }));
    return { gate, order, call, modify };
  }

  test("does not join it past another call for the same volume: what is asked for last is done last", async () => {
    const { gate, order, modify } = createOrdered();
    const calls = [modify("x", "A"), modify("y", "other"), modify("x", "B"), modify("x", "A"), modify("x", "A")];
    gate.open();
    await Promise.all(calls);
    expect(order).toEqual(["A", "other", "B", "A"]);
  });

  test("joins it though another call for the same volume was asked for and has given up", async () => {
    const { gate, handler, call } = createSlow({ lock: new KeyedLock(20), handlingMsMax: 60_000 });
    const first = call(request, createContext());
    await rejectionOf(call({ ...request, sizeBytes: 6n }, createContext()));
    const joined = call(request, createContext());
    gate.open();
    await Promise.all([first, joined]);
    expect(handler).toHaveBeenCalledTimes(1);
  });

  test("does not join it past one that has another key in common with it", async () => {
    const { gate, order, call } = createOrdered();
    const snapshot = (name: string) =>
      call({ sourceVolumeId: "x", name }, createContext({ method: "Controller/CreateSnapshot" }));
    const calls = [snapshot("A"), snapshot("B"), snapshot("A")];
    gate.open();
    await Promise.all(calls);
    expect(order).toEqual(["A", "B", "A"]);
  });

  test("fails with it", async () => {
    const wrap = createChain({ lock: new KeyedLock(20), handlingMsMax: 1_000, findName: () => undefined });
    const gate = createGate();
    const failing = wrap(async () => {
      await gate.opened;
      throw new DriverError("no_space", "full");
    });
    const calls = [failing(request, createContext()), failing(request, createContext())].map(rejectionOf);
    gate.open();
    for (const error of await Promise.all(calls)) expect(error).toMatchObject({ code: "no_space" });
  });
});
