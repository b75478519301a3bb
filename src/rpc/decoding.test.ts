import { mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { Client, status as Code, credentials, type MethodDefinition, type ServiceError } from "@grpc/grpc-js";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { pino } from "pino";
import {
  type ControllerServer,
  ControllerService,
  type SnapshotMetadataServer,
  SnapshotMetadataService,
} from "../gen/csi/csi.js";
import { EngineService } from "../gen/engine/v1/engine.js";
import { createChain } from "./chain.js";
import { KeyedLock } from "./keyed-lock.js";
import type { ObservedCall } from "./observation.js";
import { SocketServer } from "./server.js";
import { implementService } from "./service.js";
import { createStreamChain } from "./stream-chain.js";

const noMessage = Buffer.from([0x0a, 0x7f, 0x01]); // a field of 127 bytes of which one is there

let directory: string;
let server: SocketServer;
let client: Client;
let logLines: Array<Record<string, unknown>>;
let observed: ObservedCall[];
let handledCount: number;

beforeEach(async () => {
  directory = await mkdtemp("/tmp/ublk-csi-test-");
  [logLines, observed, handledCount] = [[], [], 0];
  const logger = pino({ level: "debug" }, { write: (line: string) => void logLines.push(JSON.parse(line)) });
  const observeCall = (call: ObservedCall) => void observed.push(call);
  const options = {
    wrap: createChain({ lock: new KeyedLock(20), handlingMsMax: 1_000, findName: () => undefined, observeCall }),
    wrapStream: createStreamChain(observeCall),
    logger,
  };
  const handle = () => void handledCount++ as never;
  const controller = { deleteVolume: handle };
  const metadata = { getMetadataAllocated: handle, getMetadataDelta: handle };
  const [stats, events, handOver] = [handle, handle, handle];
  const services = [
    {
      definition: ControllerService,
      implementation: implementService<ControllerServer>(ControllerService, controller, options),
    },
    {
      definition: SnapshotMetadataService,
      implementation: implementService<SnapshotMetadataServer>(SnapshotMetadataService, metadata, options),
    },
    {
      definition: EngineService,
      implementation: implementService<object>(EngineService, {}, { ...options, streams: { stats, events, handOver } }),
    },
  ];
  server = new SocketServer(join(directory, "csi.sock"), services, logger);
  await server.start();
  logLines = [];
  client = new Client(`unix:${join(directory, "csi.sock")}`, credentials.createInsecure());
});

afterEach(async () => {
  client.close();
  await server.stop(100);
  await rm(directory, { recursive: true });
});

async function send({ path, responseStream }: Pick<MethodDefinition<never, never>, "path" | "responseStream">) {
  const same = (bytes: Buffer) => bytes;
  const deadline = Date.now() + 20_000;
  const error = await new Promise<ServiceError | null>((resolve) => {
    if (!responseStream) return client.makeUnaryRequest(path, same, same, noMessage, { deadline }, resolve);
    const stream = client.makeServerStreamRequest(path, same, same, noMessage, { deadline });
    stream.on("error", resolve).on("data", () => resolve(null));
    return stream;
  });
  return { code: Code[error?.code ?? Code.OK], message: error?.details ?? "" };
}

describe("bytes that are no message", () => {
  test.each([
    ["Controller/DeleteVolume", ControllerService.deleteVolume],
    ["SnapshotMetadata/GetMetadataAllocated", SnapshotMetadataService.getMetadataAllocated],
    ["SnapshotMetadata/GetMetadataDelta", SnapshotMetadataService.getMetadataDelta],
  ])("are the caller's fault, logged and counted: %s", async (method, definition) => {
    const message = expect.stringContaining(`the bytes of the request are no message of ${method}: `);
    expect(await send(definition)).toEqual({ code: "INVALID_ARGUMENT", message });
    expect(logLines).toMatchObject([
      { msg: "call started", method },
      { msg: "call failed", method, code: "INVALID_ARGUMENT", reason: message },
    ]);
    expect(observed).toEqual([{ method, code: "INVALID_ARGUMENT", durationMs: expect.any(Number) }]);
    expect(handledCount).toBe(0);
  });

  test.each([EngineService.stats, EngineService.events])(
    "are the caller's fault where nothing wraps: $path",
    async (definition) => {
      expect((await send(definition)).code).toBe("INVALID_ARGUMENT");
      expect(handledCount).toBe(0);
    },
  );
});
