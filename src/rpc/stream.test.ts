import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { Metadata, type ServerWritableStream } from "@grpc/grpc-js";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { pino } from "pino";
import { waitFor } from "../engine/devices/block-nodes.js";
import { DriverError } from "../errors.js";
import {
  BlockMetadataType,
  type GetMetadataAllocatedRequest,
  type GetMetadataAllocatedResponse,
  type SnapshotMetadataServer,
  SnapshotMetadataService,
} from "../gen/csi/csi.js";
import { createSilentLogger } from "../log.js";
import { createGate } from "../testing/gate.js";
import { RpcClient, rpcs } from "../testing/rpc-client.js";
import { SocketServer } from "./server.js";
import { implementService } from "./service.js";
import { toGrpcStreamHandler } from "./stream.js";
import { createStreamChain } from "./stream-chain.js";
import type { StreamContext, StreamHandler } from "./stream-handler.js";

type Handler = StreamHandler<GetMetadataAllocatedRequest, GetMetadataAllocatedResponse>;

let directory: string;
let server: SocketServer;
let client: RpcClient;
let logLines: Array<Record<string, unknown>>;

beforeEach(async () => {
  directory = await mkdtemp("/tmp/ublk-csi-test-");
  logLines = [];
});
afterEach(async () => {
  client.close();
  await server.stop(100);
  await rm(directory, { recursive: true });
});

/** Serves a handler on a socket, with a client. */
async function serve(handler: Handler): Promise<void> {
  const logger = pino({ level: "debug" }, { write: (line: string) => void logLines.push(JSON.parse(line)) });
  const handlers = { getMetadataAllocated: handler, getMetadataDelta: handler as never };
  const implementation = implementService<SnapshotMetadataServer>(SnapshotMetadataService, handlers, {
    wrap: (next) => next,
    wrapStream: createStreamChain(),
    logger,
  });
  await start(implementation);
}

async function start(implementation: ReturnType<typeof implementService>): Promise<void> {
  const socketPath = join(directory, "csi.sock");
  server = new SocketServer(
    socketPath,
    [{ definition: SnapshotMetadataService, implementation }],
    createSilentLogger(),
  );
  await server.start();
  client = new RpcClient(socketPath);
}

/** A message that says which it is; 64 KiB of it fill the way to the client soon. */
function createMessage(index: number, rangeCount = 1): GetMetadataAllocatedResponse {
  return {
    blockMetadataType: BlockMetadataType.VARIABLE_LENGTH,
    volumeCapacityBytes: BigInt(index),
    blockMetadata: Array.from({ length: rangeCount }, (_, at) => ({
      byteOffset: BigInt(at) << 40n,
      sizeBytes: 1n << 40n,
    })),
  };
}

/** Messages without end, and what became of the one who makes them. */
function createSource() {
  const source = { madeCount: 0, isEnded: false, context: undefined as StreamContext | undefined };
  const handler: Handler = async function* (_request, context) {
    source.context = context;
    try {
      while (!context.signal.aborted) yield createMessage(source.madeCount++, 4_000);
    } finally {
      source.isEnded = true;
    }
  };
  return { source, handler };
}

const request = { snapshotId: "snap-1" };

describe("a stream", () => {
  test("brings every message in order, and ends", async () => {
    await serve(async function* () {
      for (let index = 0; index < 100; index++) yield createMessage(index);
    });
    const { code, responses } = await client.read(rpcs.getMetadataAllocated, request);
    expect(code).toBe("OK");
    expect(responses).toEqual(Array.from({ length: 100 }, (_, index) => createMessage(index)));
  });

  test("that fails half-way has its messages so far, and the status of the error", async () => {
    await serve(async function* () {
      yield createMessage(0);
      throw new DriverError("missing", "the snapshot was deleted");
    });
    expect(await client.read(rpcs.getMetadataAllocated, request)).toEqual({
      code: "NOT_FOUND",
      message: "the snapshot was deleted",
      responses: [createMessage(0)],
    });
  });

  test("is made no faster than it is read", async () => {
    const { source, handler } = createSource();
    await serve(handler);
    const call = client.open(rpcs.getMetadataAllocated, request);
    call.on("error", () => undefined);
    // Before the first message is asked for, grpc-js' client takes from the socket whatever comes.
    await once(call, "data");
    call.pause();
    // The buffers in between fill up, and then nothing moves any more.
    let before = -1;
    await waitFor(
      async () => {
        const isStill = source.madeCount > 0 && source.madeCount === before;
        before = source.madeCount;
        return isStill;
      },
      { timeoutMs: 10_000, pauseMs: 200 },
    );
    expect(source.madeCount).toBeLessThan(100);
    expect(source.isEnded).toBe(false);
    call.resume();
    expect(await waitFor(async () => source.madeCount > before + 10, { timeoutMs: 20_000 })).toBe(true);
    call.cancel();
  });

  test("ends its handler when the caller goes away", async () => {
    const { source, handler } = createSource();
    await serve(handler);
    const call = client.open(rpcs.getMetadataAllocated, request);
    call.on("error", () => undefined);
    await once(call, "data");
    call.cancel();
    expect(await waitFor(async () => source.isEnded, { timeoutMs: 10_000 })).toBe(true);
    expect(source.context?.isCancelled()).toBe(true);
  });

  test("tells a handler that is busy with something else that the deadline has passed", async () => {
    const gate = createGate();
    await serve(async function* (_request, { signal }) {
      signal.addEventListener("abort", () => gate.open());
      await gate.opened;
      signal.throwIfAborted();
      yield createMessage(0);
    });
    expect(await client.read(rpcs.getMetadataAllocated, request, { deadlineMs: 100 })).toMatchObject({
      code: "DEADLINE_EXCEEDED",
      responses: [],
    });
    await gate.opened;
    expect(await waitFor(async () => logLines.length === 2, { timeoutMs: 10_000 })).toBe(true);
    expect(logLines[1]).toMatchObject({ msg: "call failed", code: "CANCELLED", messageCount: 0 });
  });

  test("that nobody reads for too long is given up", async () => {
    const { source, handler } = createSource();
    let givenUpWith: unknown;
    const stream = toGrpcStreamHandler(handler as never, {
      stalledMsMax: 50,
      createContext: () => ({}) as never,
      toTrailer: () => new Metadata(),
    });
    const getMetadataAllocated = (call: ServerWritableStream<object, object>) => {
      const emit = call.emit.bind(call);
      call.emit = ((event: string, value: unknown) => {
        if (event === "error") givenUpWith = value;
        return emit(event, value);
      }) as typeof call.emit;
      stream(call);
    };
    await start({ getMetadataAllocated, getMetadataDelta: stream });
    const call = client.open(rpcs.getMetadataAllocated, request);
    call.on("error", () => undefined);
    call.pause();
    expect(await waitFor(async () => source.isEnded, { timeoutMs: 10_000 })).toBe(true);
    expect(givenUpWith).toMatchObject({ details: "nothing was read for 50 ms: call again and go on from there" });
    call.cancel();
  });
});

describe("the chain of streams", () => {
  test("writes one line at the start and one at the end, with secrets hidden", async () => {
    await serve(async function* () {
      yield createMessage(0);
      yield createMessage(1);
    });
    await client.read(rpcs.getMetadataAllocated, { ...request, secrets: { key: "hunter2" } });
    expect(await waitFor(async () => logLines.length === 2, { timeoutMs: 10_000 })).toBe(true);
    const method = "SnapshotMetadata/GetMetadataAllocated";
    expect(logLines[0]).toMatchObject({ msg: "call started", method, request: { secrets: { key: "[secret]" } } });
    expect(logLines[1]).toMatchObject({ msg: "call finished", method, code: "OK", messageCount: 2 });
    expect(JSON.stringify(logLines)).not.toContain("hunter2");
  });

  test("refuses fields beyond the limits before the handler sees them", async () => {
    await serve(async function* () {
      yield createMessage(0);
    });
    expect(await client.read(rpcs.getMetadataAllocated, { snapshotId: "x".repeat(129) })).toEqual({
      code: "INVALID_ARGUMENT",
      message: "snapshot_id has 129 bytes, at most 128 are allowed",
      responses: [],
    });
  });

  test("logs the cause of what nobody expected", async () => {
    // biome-ignore lint/correctness/useYield: it fails before it has anything to say
    await serve(async function* () {
      throw new Error("a bug");
    });
    expect(await client.read(rpcs.getMetadataAllocated, request)).toMatchObject({ code: "INTERNAL", message: "a bug" });
    expect(logLines).toContainEqual(expect.objectContaining({ msg: "unexpected", level: 50 }));
  });
});
