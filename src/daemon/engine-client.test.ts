import { truncate } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import {
  BlockDeviceError,
  type BlockDeviceEvent,
  type BlockDeviceSpec,
  blockDeviceErrorCodes,
} from "../engine/block-devices.js";
import { waitFor } from "../engine/devices/block-nodes.js";
import { type BlockDevicesHarness, describeBlockDevices } from "../engine/testing/block-devices-contract.js";
import { toSpec } from "../engine/testing/fake-node.js";
import { EngineService } from "../gen/engine/v1/engine.js";
import { createGate } from "../testing/gate.js";
import { RpcClient } from "../testing/rpc-client.js";
import type { EngineClient } from "./engine-client.js";
import { ServedEngine } from "./testing/served-engine.js";

const mebibyte = 1 << 20;

async function createHarness(): Promise<BlockDevicesHarness> {
  const served = await ServedEngine.start();
  const { node } = served;
  const devices = served.connect();
  return {
    isRemote: true,
    devices,
    createVolume: async (volumeId) => toSpec(volumeId, await node.createImage(volumeId, mebibyte), mebibyte),
    resizeImage: ({ image }, sizeBytes) => truncate(image.path, Number(sizeBytes)),
    canResize: true,
    readLimits: (volumeId) => node.readLimits(volumeId),
    waitUntilListening: () => devices.waitUntilListening(),
    hold: async ({ deviceId }) => {
      node.users.set(deviceId, [{ kind: "mount", name: "/mnt/somewhere" }]);
      return async () => void node.users.delete(deviceId);
    },
    restartAfterKill: async () => {
      await served.kill();
      return served.connect();
    },
    restartAfterClose: async () => {
      await served.leave();
      return served.connect();
    },
    destroy: () => served.destroy(),
  };
}

describeBlockDevices("EngineClient", createHarness);

describe("EngineClient", () => {
  let served: ServedEngine;
  let spec: BlockDeviceSpec;

  beforeEach(async () => {
    served = await ServedEngine.start();
    spec = toSpec("one", await served.node.createImage("image", mebibyte), mebibyte);
  });

  afterEach(async () => {
    await served.destroy();
  });

  test.each(blockDeviceErrorCodes)("gives back the code %s and the words of the engine", async (code) => {
    const failure = new BlockDeviceError(code, `it is ${code}, "§" and all`);
    served.engine.detach = () => Promise.reject(failure);
    await expect(served.connect().detach("one")).rejects.toMatchObject({ code, message: failure.message });
  });

  test("waits while the engine restarts, and asks the next one", async () => {
    const client = served.connect();
    await client.attach(spec);
    await served.server.stop(0);
    const found = client.find("one");
    served.node.addon.kill();
    await served.kill();
    expect(await found).toMatchObject({ volumeId: "one", state: "live" });
  });

  test("asks again when an engine that is about to end refuses", async () => {
    const client = served.connect();
    await served.engine.suspend();
    served.server.announceEnd();
    const attaching = client.attach(spec);
    await served.leave();
    expect(await attaching).toMatchObject({ volumeId: "one", state: "live" });
  });

  test("gives up after its patience and says what to look at", async () => {
    await served.server.stop(0);
    await expect(served.connect(100).list()).rejects.toMatchObject({
      code: "unavailable",
      message: expect.stringMatching(/engine\.sock does not answer .*is ublk-csi engine running/),
    });
  });

  test.each<[string, (client: EngineClient) => Promise<unknown>]>([
    ["an answer", (client) => client.detach("one")],
    ["an answer that begins a stream", (client) => client.stats("one")],
  ])("waits no longer than it was told for %s", async (_what, ask) => {
    const gate = createGate();
    const hang = async (): Promise<never> => {
      await gate.opened;
      throw new BlockDeviceError("not_found", "too late");
    };
    served.engine.stats = hang;
    served.engine.detach = hang;
    await expect(ask(served.connect(5_000, { answerTimeoutMs: 200 }))).rejects.toMatchObject({
      code: "unavailable",
      message: expect.stringContaining("engine.sock does not answer"),
    });
    gate.open();
  });

  test("listens to the next engine too", async () => {
    const client = served.connect();
    const kinds: string[] = [];
    client.onEvent(({ kind }) => void kinds.push(kind));
    await served.waitForListeners(1);
    await client.attach(spec);
    await served.kill();
    await served.waitForListeners(1);
    await client.detach("one");
    expect(await waitFor(async () => kinds.length === 2, { timeoutMs: 10_000 })).toBe(true);
    expect(kinds).toEqual(["attached", "detached"]);
  });

  test("is told of requests that failed before it came, the last one of each errno", async () => {
    await served.connect().attach(spec);
    const request = { kind: "io-error", operation: 1, lengthBytes: 4096 } as const;
    const before = Date.now();
    for (const [errno, offsetBytes] of [
      [5, 0n],
      [28, 512n],
      [5, 1024n],
    ] as const) {
      served.node.addon.emit(0, { ...request, errno, offsetBytes });
    }
    const events: BlockDeviceEvent[] = [];
    served.connect().onEvent((event) => void events.push(event));
    expect(await waitFor(async () => events.length === 2, { timeoutMs: 10_000 })).toBe(true);
    const told = { kind: "io-error", volumeId: "one", deviceId: 0, operation: "write", atMs: expect.any(Number) };
    expect(events).toMatchObject([
      { ...told, errnoName: "EIO", offsetBytes: 1024n },
      { ...told, errnoName: "ENOSPC", offsetBytes: 512n },
    ]);
    for (const event of events) expect("atMs" in event && event.atMs).toBeGreaterThanOrEqual(before);
  });
});

describe("a caller that goes away in the middle", () => {
  let served: ServedEngine;
  let spec: BlockDeviceSpec;

  beforeEach(async () => {
    served = await ServedEngine.start();
    spec = toSpec("one", await served.node.createImage("image", mebibyte), mebibyte);
  });

  afterEach(async () => {
    await served.destroy();
  });

  /** Calls the engine, and is gone while the named call is held up in it. */
  async function abandon(
    verb: "attach" | "detach" | "find" | "list" | "adopt" | "resize" | "setLimits" | "freeze" | "thaw",
    call: (rpc: RpcClient) => Promise<unknown>,
  ) {
    const gate = createGate();
    const entered = createGate();
    const original = served.engine[verb].bind(served.engine) as (...args: unknown[]) => Promise<never>;
    const done = new Promise<void>((resolve) => {
      served.engine[verb] = async (...args: unknown[]) => {
        entered.open();
        await gate.opened;
        return await original(...args).finally(resolve);
      };
    });
    const rpc = new RpcClient(served.socketPath);
    const answered = call(rpc);
    await entered.opened;
    rpc.close();
    await expect(answered).resolves.not.toMatchObject({ code: "OK" });
    served.engine[verb] = original as never;
    await served.connect().list(); // sent after the other end of the abandoned call, and so answered after it was seen
    gate.open();
    await done;
  }

  const attachRequest = () => ({ ...spec, image: { kind: 1, path: spec.image.path } });
  const deadline = { deadlineMs: 300 };

  test("leaves a whole device behind an attach, which the next attach returns", async () => {
    await abandon("attach", (rpc) => rpc.call(EngineService.attach, attachRequest(), deadline));
    const client = served.connect();
    const [device] = await client.list();
    expect(device).toMatchObject({ volumeId: "one", state: "live" });
    expect(await client.attach(spec)).toEqual(device);
  });

  test("leaves nothing behind a detach", async () => {
    await served.connect().attach(spec);
    await abandon("detach", (rpc) => rpc.call(EngineService.detach, { volumeId: "one" }, deadline));
    expect(await served.connect().list()).toEqual([]);
    expect(served.node.kernel.deviceIds()).toEqual([]);
  });

  test("leaves limits that are in the journal and in the device", async () => {
    await served.connect().attach(spec);
    const limits = { iops: 5n };
    await abandon("setLimits", (rpc) =>
      rpc.call(EngineService.setLimits, { volumeId: "one", limits } as never, deadline),
    );
    expect(await served.node.readLimits("one")).toEqual({ iops: 5 });
  });

  test("leaves a resize done", async () => {
    await served.connect().attach(spec);
    await truncate(spec.image.path, 2 * mebibyte);
    const sizeBytes = BigInt(2 * mebibyte);
    await abandon("resize", (rpc) => rpc.call(EngineService.resize, { volumeId: "one", sizeBytes }, deadline));
    expect(await served.connect().find("one")).toMatchObject({ sizeBytes });
  });

  test("leaves nothing frozen", async () => {
    const client = served.connect();
    await client.attach(spec);
    const request = { volumeIds: ["one"], deadlineMs: 60_000 };
    await abandon("freeze", (rpc) => rpc.call(EngineService.freeze, request, deadline));
    expect(await waitFor(async () => !(await client.stats("one")).frozen, { timeoutMs: 10_000 })).toBe(true);
  });

  test("leaves a thaw done, which says so when it is repeated", async () => {
    const client = served.connect();
    await client.attach(spec);
    const token = await client.freeze(["one"], { deadlineMs: 60_000 });
    await abandon("thaw", (rpc) => rpc.call(EngineService.thaw, { volumeIds: ["one"], token }, deadline));
    expect((await client.stats("one")).frozen).toBe(false);
    await expect(client.thaw(["one"], token)).rejects.toMatchObject({ code: "frozen" });
  });

  test("leaves an adoption done", async () => {
    await served.connect().attach(spec);
    await served.server.stop(0);
    served.node.addon.kill();
    await served.startWithoutAdoption();
    expect(await served.connect().find("one")).toMatchObject({ state: "quiesced" });
    await abandon("adopt", (rpc) => rpc.call(EngineService.adopt, {}, deadline));
    expect(await served.connect().find("one")).toMatchObject({ state: "live" });
    expect((await served.connect().adopt()).entries).toMatchObject([{ volumeId: "one", action: "kept" }]);
  });

  test.each(["find", "list"] as const)("leaves everything as it was behind a %s", async (verb) => {
    const client = served.connect();
    const device = await client.attach(spec);
    const steps = [...served.node.kernel.steps];
    await abandon(verb, (rpc) =>
      verb === "find"
        ? rpc.call(EngineService.get, { volumeId: "one" }, deadline)
        : rpc.call(EngineService.list, {}, deadline),
    );
    expect(await client.list()).toEqual([device]);
    expect(served.node.kernel.steps.filter((step) => !step.startsWith("GET_"))).toEqual(
      steps.filter((step) => !step.startsWith("GET_")),
    );
  });

  test("leaves no stream", async () => {
    const client = served.connect();
    client.onEvent(() => {});
    await served.waitForListeners(1);
    await client.close();
    await served.waitForListeners(0);
  });

  test("leaves no stream of counters, and nothing that reads them", async () => {
    const client = served.connect();
    await client.attach(spec);
    const rpc = new RpcClient(served.socketPath);
    const stream = rpc.open(EngineService.stats, { volumeIds: ["one"], intervalMs: 100 });
    const ended = new Promise((resolve) => stream.once("error", resolve));
    await new Promise((resolve) => stream.once("data", resolve));
    await served.waitForListeners(1);
    stream.cancel();
    await ended;
    rpc.close();
    await served.waitForListeners(0);
  });

  test("leaves no stream of counters whose first answer it has not waited for", async () => {
    await served.connect().attach(spec);
    const entered = createGate();
    const gate = createGate();
    const original = served.engine.stats.bind(served.engine);
    const read = new Promise<void>((resolve) => {
      served.engine.stats = async (volumeId) => {
        entered.open();
        await gate.opened;
        return await original(volumeId).finally(resolve);
      };
    });
    const rpc = new RpcClient(served.socketPath);
    const stream = rpc.open(EngineService.stats, { volumeIds: ["one"], intervalMs: 100 });
    const ended = new Promise((resolve) => stream.once("error", resolve));
    await entered.opened;
    stream.cancel();
    await ended;
    await served.connect().list(); // answered after the engine has seen the end of the stream
    gate.open();
    await read;
    served.engine.stats = original;
    expect((await served.connect().stats("one")).frozen).toBe(false);
    await served.waitForListeners(0);
    rpc.close();
  });
});
