import { setTimeout as sleep } from "node:timers/promises";
import { Metadata } from "@grpc/grpc-js";
import { describe, expect, jest, test } from "@jest/globals";
import { pino } from "pino";
import { BlockDeviceError } from "../engine/block-devices.js";
import { DriverError } from "../errors.js";
import { createSilentLogger } from "../log.js";
import { createGate } from "../testing/gate.js";
import { rejectionOf } from "../testing/workspace.js";
import { createChain } from "./chain.js";
import { withDeadline } from "./deadline.js";
import { withFieldLimits } from "./field-limits.js";
import type { AnyHandler, CallContext } from "./handler.js";
import { KeyedLock } from "./keyed-lock.js";
import { withVolumeLock } from "./locking.js";
import { withLogging } from "./logging.js";
import { redactSecrets } from "./redact.js";
import { Code, RpcError, toStatus } from "./status.js";

function createContext(change: Partial<CallContext> = {}): CallContext {
  const logger = createSilentLogger();
  const deadlineMs = Number.POSITIVE_INFINITY;
  const call = { deadlineMs, metadata: new Metadata(), isCancelled: () => false };
  return { requestId: "1", method: "Node/NodeStageVolume", ...call, logger, ...change };
}

describe("the keyed lock", () => {
  test("lets one holder in at a time, and the waiting in order", async () => {
    const lock = new KeyedLock(5_000);
    const gate = createGate();
    const order: string[] = [];
    const first = lock.run(["a"], async () => {
      await gate.opened;
      order.push("first");
    });
    const others = ["second", "third"].map((name) => lock.run(["a"], async () => void order.push(name)));
    await lock.run(["b"], async () => void order.push("other key"));
    gate.open();
    await Promise.all([first, ...others]);
    expect(order).toEqual(["other key", "first", "second", "third"]);
  });

  test("gives up waiting after the limit, names the key, and lets the next in later", async () => {
    const lock = new KeyedLock(20);
    const gate = createGate();
    const holder = lock.run(["volume x"], () => gate.opened);
    const error = await rejectionOf(lock.run(["volume x"], async () => undefined));
    expect(error).toMatchObject({
      code: "busy",
      message: /another operation on volume x is still running .*try again/,
    });
    gate.open();
    await holder;
    await expect(lock.run(["volume x"], async () => "in")).resolves.toBe("in");
  });

  test("is released by work that fails", async () => {
    const lock = new KeyedLock(20);
    await rejectionOf(lock.run(["a"], () => Promise.reject(new Error("work failed"))));
    await expect(lock.run(["a"], async () => "in")).resolves.toBe("in");
  });

  test("holders of several keys never wait for each other in a circle", async () => {
    const lock = new KeyedLock(1_000);
    const run = (keys: string[]) => lock.run(keys, () => sleep(1));
    await Promise.all(Array.from({ length: 50 }, (_, round) => run(round % 2 === 0 ? ["a", "b"] : ["b", "a"])));
  });

  test("is idle when the last one that has or wants a key is done", async () => {
    const lock = new KeyedLock(1_000);
    await lock.whenIdle();
    const [gate, order] = [createGate(), [] as string[]];
    const calls = ["first", "second"].map((name) =>
      lock.run(["a", "b"], async () => {
        await gate.opened;
        order.push(name);
      }),
    );
    const idle = lock.whenIdle().then(() => order.push("idle"));
    gate.open();
    await Promise.all([...calls, idle]);
    expect(order).toEqual(["first", "second", "idle"]);
  });

  test("gives back the keys it has when the next one is busy", async () => {
    const lock = new KeyedLock(20);
    const gate = createGate();
    const holder = lock.run(["b"], () => gate.opened);
    await rejectionOf(lock.run(["a", "b"], async () => undefined));
    await expect(lock.run(["a"], async () => "in")).resolves.toBe("in");
    gate.open();
    await holder;
  });
});

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

describe("the deadline", () => {
  test("that has passed refuses the call before any work", async () => {
    const handler = jest.fn(async () => ({}));
    const call = withDeadline(1_000)(handler)({}, createContext({ deadlineMs: Date.now() - 1 }));
    expect(await rejectionOf(call)).toMatchObject({ code: Code.DEADLINE_EXCEEDED });
    expect(handler).not.toHaveBeenCalled();
  });

  test.each([
    ["the caller's", { deadlineMs: Date.now() + 300_000 }, 20],
    ["the driver's own", {}, 20],
  ])("bounds the answer (%s), while the work goes on", async (_case, change, handlingMsMax) => {
    const gate = createGate();
    let isDone = false;
    const handler: AnyHandler = async () => {
      await gate.opened;
      isDone = true;
      return {};
    };
    const error = await rejectionOf(withDeadline(handlingMsMax)(handler)({}, createContext(change)));
    expect(error).toMatchObject({ code: Code.DEADLINE_EXCEEDED, message: /the work goes on: ask again/ });
    gate.open();
    await gate.opened;
    expect(isDone).toBe(true);
  });

  test("does not disturb a call in time", async () => {
    await expect(withDeadline(1_000)(async () => ({ done: true }))({}, createContext())).resolves.toEqual({
      done: true,
    });
  });

  test("leaves the volume locked until the work is done: another call is ABORTED, then succeeds", async () => {
    const gate = createGate();
    const wrap = createChain({ lock: new KeyedLock(20), handlingMsMax: 100, findName: () => undefined });
    const slow = wrap(async () => {
      await gate.opened;
      return {};
    });
    const request = { volumeId: "id-1" };
    const other = { volumeId: "id-1", stagingTargetPath: "/other" };
    const retry = wrap(async () => ({ done: true }));
    const codeOf = async (call: Promise<object>) => toStatus(await rejectionOf(call)).code;
    expect(await codeOf(slow(request, createContext()))).toBe(Code.DEADLINE_EXCEEDED);
    expect(await codeOf(retry(other, createContext()))).toBe(Code.ABORTED);
    gate.open();
    await expect(retry(other, createContext())).resolves.toEqual({ done: true });
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

describe("errors become codes", () => {
  test.each([
    [new DriverError("invalid", "m"), Code.INVALID_ARGUMENT],
    [new DriverError("missing", "m"), Code.NOT_FOUND],
    [new DriverError("conflict", "m"), Code.ALREADY_EXISTS],
    [new DriverError("no_space", "m"), Code.RESOURCE_EXHAUSTED],
    [new DriverError("out_of_range", "m"), Code.OUT_OF_RANGE],
    [new DriverError("refused", "m"), Code.FAILED_PRECONDITION],
    [new DriverError("busy", "m"), Code.ABORTED],
    [new DriverError("internal", "m"), Code.INTERNAL],
    [new BlockDeviceError("in_use", "m"), Code.FAILED_PRECONDITION],
    [new BlockDeviceError("spec_mismatch", "m"), Code.ALREADY_EXISTS],
    [new BlockDeviceError("image_missing", "m"), Code.INTERNAL],
    [new BlockDeviceError("unavailable", "m"), Code.UNAVAILABLE],
    [new BlockDeviceError("internal", "m"), Code.INTERNAL],
    [new RpcError(Code.UNIMPLEMENTED, "m"), Code.UNIMPLEMENTED],
    [new TypeError("m"), Code.INTERNAL],
  ])("%s is code %s, with the message and no stack", (error, code) => {
    expect(toStatus(error)).toEqual({ code, details: "m" });
  });

  test("what is not an error is INTERNAL too", () => {
    expect(toStatus("text")).toEqual({ code: Code.INTERNAL, details: "text" });
  });
});

describe("field limits count bytes", () => {
  const check = (request: object) => withFieldLimits()(async () => ({}))(request, createContext());

  test.each<[string, object]>([
    ["a string of 128 bytes", { volumeId: "x".repeat(128) }],
    ["a path of 4096 bytes", { targetPath: "x".repeat(4096) }],
    ["a map of 4096 bytes", { parameters: { a: "x".repeat(4095) } }],
    ["many ids", { sourceVolumeIds: Array(1024).fill("x".repeat(36)) }],
    ["a long mount flag", { mountFlags: ["x".repeat(500)] }],
    ["a long value in a map", { volumeContext: { a: "x".repeat(1000) } }],
    ["tab and line feed", { name: "a\tb\nc" }],
    ["numbers and nothing", { requiredBytes: 2n ** 62n, readonly: true, capability: undefined }],
  ])("%s passes", async (_case, request) => {
    await expect(check(request)).resolves.toEqual({});
  });

  test.each<[object, string]>([
    [{ volumeId: "x".repeat(129) }, "volume_id has 129 bytes, at most 128 are allowed"],
    [{ name: `${"é".repeat(64)}x` }, "name has 129 bytes, at most 128 are allowed"],
    [{ stagingTargetPath: "x".repeat(4097) }, "staging_target_path has 4097 bytes, at most 4096 are allowed"],
    [{ parameters: { a: "é".repeat(2048) } }, "parameters has 4097 bytes in all, at most 4096 are allowed"],
    [{ secrets: { a: "x".repeat(4096) } }, "secrets has 4097 bytes in all, at most 4096 are allowed"],
    [{ capability: { value: { fsType: "x".repeat(129) } } }, "capability.value.fs_type has 129 bytes"],
    [{ mountFlags: ["x".repeat(2048), "y".repeat(2049)] }, "mount_flags has 4097 bytes, at most 4096 are allowed"],
    [{ name: "a\u0085" }, "name has the control character U+0085"],
    [{ parameters: { a: "b\u0000" } }, "a value of parameters has the control character U+0000"],
    [{ parameters: { "a\u001b": "b" } }, "a key of parameters has the control character U+001b"],
    [{ capability: { value: { mountFlags: ["a\u0000"] } } }, "mount_flags has the control character U+0000"],
    [{ requisite: [{ segments: { a: "x".repeat(4096) } }] }, "requisite.segments has 4097 bytes in all"],
    [{ sourceVolumeIds: ["x".repeat(129)] }, "source_volume_ids has 129 bytes, at most 128 are allowed"],
    [{ volumeCapabilities: Array(1025).fill({}) }, "volume_capabilities has 1025 entries, at most 1024 are allowed"],
  ])("%j is refused", async (request, message) => {
    const error = await rejectionOf(check(request));
    expect(error).toMatchObject({ code: Code.INVALID_ARGUMENT, message: expect.stringContaining(message) });
  });
});

describe("logging", () => {
  function createRecorder(): { context: CallContext; lines: Array<Record<string, unknown>>; text: () => string } {
    const raw: string[] = [];
    const logger = pino({ level: "debug" }, { write: (line: string) => raw.push(line) });
    const context = createContext({ logger });
    const lines = new Proxy([] as Array<Record<string, unknown>>, {
      get: (_target, key) =>
        Reflect.get(
          raw.map((line) => JSON.parse(line) as Record<string, unknown>),
          key,
        ),
    });
    return { context, lines, text: () => raw.join("") };
  }

  test("writes one line at the start and one at the end, with duration and code", async () => {
    const { context, lines } = createRecorder();
    await withLogging()(async () => ({}))({ volumeId: "x" }, context);
    expect(lines).toHaveLength(2);
    expect(lines[0]).toMatchObject({ msg: "call started", request: { volumeId: "x" } });
    expect(lines[1]).toMatchObject({ msg: "call finished", code: "OK", durationMs: expect.any(Number) });
  });

  test("writes the code and the reason of a failure, and a stack only when it was not expected", async () => {
    const { context, lines } = createRecorder();
    await rejectionOf(withLogging()(() => Promise.reject(new DriverError("missing", "no volume")))({}, context));
    expect(lines[1]).toMatchObject({ msg: "call failed", code: "NOT_FOUND", reason: "no volume" });
    expect(lines[1]).not.toHaveProperty("err");
    await rejectionOf(withLogging()(() => Promise.reject(new TypeError("bug")))({}, context));
    expect(lines[3]).toMatchObject({ code: "INTERNAL", err: { stack: expect.any(String) } });
  });

  test("never writes a secret", async () => {
    const { context, text } = createRecorder();
    await withLogging()(async () => ({}))(
      { secrets: { key: "hunter2" }, nested: [{ secrets: { a: "hunter2" } }] },
      context,
    );
    expect(text()).toContain('"secrets":{"key":"[secret]"}');
    expect(text()).not.toContain("hunter2");
  });
});

test("redaction keeps all else, and turns sizes into text", () => {
  const request = { name: "a", range: { requiredBytes: 5n }, list: [1, "b"], nothing: undefined, secrets: { k: "v" } };
  expect(redactSecrets(request)).toEqual({
    name: "a",
    range: { requiredBytes: "5" },
    list: [1, "b"],
    nothing: undefined,
    secrets: { k: "[secret]" },
  });
});
