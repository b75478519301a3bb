import { describe, expect, jest, test } from "@jest/globals";
import { pino } from "pino";
import { BlockDeviceError } from "../engine/block-devices.js";
import { DriverError } from "../errors.js";
import { createGate } from "../testing/gate.js";
import { rejectionOf } from "../testing/workspace.js";
import { createChain } from "./chain.js";
import { withDeadline } from "./deadline.js";
import { withFieldLimits } from "./field-limits.js";
import type { AnyHandler, CallContext } from "./handler.js";
import { KeyedLock } from "./keyed-lock.js";
import { withLogging } from "./logging.js";
import { redactSecrets } from "./redact.js";
import { Code, RpcError, toStatus } from "./status.js";
import { createContext } from "./testing/call-context.js";

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

describe("errors become codes", () => {
  test.each([
    [new DriverError("invalid", "m"), Code.INVALID_ARGUMENT],
    [new DriverError("missing", "m"), Code.NOT_FOUND],
    [new DriverError("conflict", "m"), Code.ALREADY_EXISTS],
    [new DriverError("no_space", "m"), Code.RESOURCE_EXHAUSTED],
    [new DriverError("out_of_range", "m"), Code.OUT_OF_RANGE],
    [new DriverError("refused", "m"), Code.FAILED_PRECONDITION],
    [new DriverError("busy", "m"), Code.ABORTED],
    [new DriverError("unavailable", "m"), Code.UNAVAILABLE],
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
