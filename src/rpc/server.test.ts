import { spawnSync } from "node:child_process";
import { lstat, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { type IdentityServer, IdentityService } from "../gen/csi/csi.js";
import { createSilentLogger } from "../log.js";
import { createGate } from "../testing/gate.js";
import { RpcClient, rpcs } from "../testing/rpc-client.js";
import { rejectionOf } from "../testing/workspace.js";
import type { Handlers } from "./handler.js";
import { SocketServer } from "./server.js";
import { implementService } from "./service.js";

let directory: string;
let socketPath: string;
const servers: SocketServer[] = [];

beforeEach(async () => {
  directory = await mkdtemp("/tmp/ublk-csi-test-");
  socketPath = join(directory, "run", "csi.sock");
});

afterEach(async () => {
  for (const server of servers.splice(0)) await server.stop(100);
  await rm(directory, { recursive: true });
});

function createServerWith(handlers: Handlers<IdentityServer>): SocketServer {
  const logger = createSilentLogger();
  const implementation = implementService<IdentityServer>(IdentityService, handlers, { wrap: (next) => next, logger });
  const server = new SocketServer(socketPath, [{ definition: IdentityService, implementation }], logger);
  servers.push(server);
  return server;
}

const modeOf = async (path: string) => ((await lstat(path)).mode & 0o777).toString(8);

/** What a process leaves that was killed: a socket file which nobody serves. */
async function leaveStaleSocket(): Promise<void> {
  const script = `require("net").createServer().listen(${JSON.stringify(socketPath)}, () => process.kill(process.pid, 9))`;
  spawnSync("mkdir", ["-p", join(directory, "run")]);
  spawnSync(process.execPath, ["-e", script]);
  expect((await lstat(socketPath)).isSocket()).toBe(true);
}

describe("the socket", () => {
  test("is for its owner only, in a directory for its owner only, and gone after the stop", async () => {
    const server = createServerWith({});
    const maskBefore = process.umask();
    await server.start();
    expect(await modeOf(socketPath)).toBe("600");
    expect(await modeOf(join(directory, "run"))).toBe("700");
    expect(process.umask()).toBe(maskBefore);
    await server.stop(1_000);
    await expect(lstat(socketPath)).rejects.toMatchObject({ code: "ENOENT" });
  });

  test("left by a killed process is replaced", async () => {
    await leaveStaleSocket();
    await createServerWith({ probe: async () => ({ ready: true }) }).start();
    const client = new RpcClient(socketPath);
    expect(await client.call(rpcs.probe, {})).toMatchObject({ code: "OK", response: { ready: true } });
    client.close();
  });

  test("that another process serves is refused and left alone", async () => {
    await leaveStaleSocket();
    await rm(socketPath);
    const other = createServer().listen(socketPath);
    await new Promise((resolve) => other.once("listening", resolve));
    const error = await rejectionOf(createServerWith({}).start());
    expect(error.message).toBe(`another process serves ${socketPath}: stop it, or choose another --endpoint`);
    expect((await lstat(socketPath)).isSocket()).toBe(true);
    await new Promise((resolve) => other.close(resolve));
  });

  test("is never made over a file", async () => {
    socketPath = join(directory, "file");
    await writeFile(socketPath, "precious");
    expect((await rejectionOf(createServerWith({}).start())).message).toContain("exists and is not a socket");
    expect(await readFile(socketPath, "utf8")).toBe("precious");
  });
});

describe("stopping", () => {
  /** A server with one call that has started and ends when the gate opens. */
  async function startWithRunningCall() {
    const [started, gate] = [createGate(), createGate()];
    const server = createServerWith({
      probe: async () => {
        started.open();
        await gate.opened;
        return { ready: true };
      },
    });
    await server.start();
    const client = new RpcClient(socketPath);
    const call = client.call(rpcs.probe, {}).finally(() => client.close());
    await started.opened;
    return { server, call, gate };
  }

  test("lets a running call end", async () => {
    const { server, call, gate } = await startWithRunningCall();
    const stopped = server.stop(5_000);
    gate.open();
    expect((await call).code).toBe("OK");
    await stopped;
  });

  test("cuts off a call that outlives the deadline", async () => {
    const { server, call } = await startWithRunningCall();
    await server.stop(50);
    expect((await call).code).toMatch(/UNAVAILABLE|CANCELLED|INTERNAL/);
  });
});
