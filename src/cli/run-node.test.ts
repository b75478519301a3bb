import { once } from "node:events";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, jest, test } from "@jest/globals";
import type { NodeConfig } from "../config.js";
import { FakeNode, toSpec } from "../engine/testing/fake-node.js";
import { acquireFileLock, type FileLock } from "../system/file-lock.js";
import { blockCapability, mountCapability, range } from "../testing/driver-rig.js";
import { createGate, type Gate } from "../testing/gate.js";
import { RpcClient, rpcs } from "../testing/rpc-client.js";
import { directoriesAsMemory, rejectionOf, runRealCommand, Workspace } from "../testing/workspace.js";
import { type NodeParts, runNode } from "./run-node.js";

let workspace: Workspace;
let config: NodeConfig;
let parts: NodeParts;
let errorText: string;

beforeEach(async () => {
  workspace = await Workspace.create();
  config = {
    socketPath: workspace.path("run", "csi.sock"),
    nodeId: "node-a",
    stateDir: workspace.path("state"),
    engineSocketPath: undefined,
    kubeletDir: workspace.path("kubelet"),
    driverName: "csi.ublk.io",
    logLevel: "info",
    allowBrokenKernel: false,
    pools: [{ kind: "file", name: "disk", directory: workspace.path("disk") }],
  };
  const { mounter, filesystems, runCommand, imageFiles, logger, blockDevices } = workspace;
  parts = {
    version: "1.2.3",
    checkKernel: async () => undefined,
    createBlockDevices: () => blockDevices,
    mounter,
    filesystems,
    memoryFilesystems: directoriesAsMemory,
    runCommand,
    imageFiles,
    logger,
  };
  errorText = "";
  jest.spyOn(process.stderr, "write").mockImplementation((text) => {
    errorText += String(text);
    return true;
  });
});

afterEach(async () => {
  jest.restoreAllMocks();
  await workspace.remove();
});

/** Runs the node until it serves, does the work, and stops it; returns the exit code. */
async function runWhile(work: (client: RpcClient) => Promise<void>): Promise<number> {
  const stop = new AbortController();
  const running = runNode(config, parts, stop.signal);
  const client = new RpcClient(config.socketPath);
  await waitUntilServing(client);
  await work(client).finally(() => client.close());
  stop.abort();
  return await running;
}

async function waitUntilServing(client: RpcClient): Promise<void> {
  const deadline = Date.now() + 10_000;
  while ((await client.call(rpcs.probe, {}, { deadlineMs: 1_000 })).code !== "OK") {
    if (Date.now() > deadline) throw new Error(`not serving after 10 s: ${errorText}`);
  }
}

async function waitUntil(isSo: () => Promise<boolean>): Promise<void> {
  while (!(await isSo())) await sleep(10);
}

const startOnly = () => runNode(config, parts, AbortSignal.abort());

describe("a run of the node", () => {
  test("serves, stops in order and leaves no socket and no lock", async () => {
    const exitCode = await runWhile(async (client) => {
      expect((await client.call(rpcs.nodeGetInfo, {})).response?.nodeId).toBe("node-a");
    });
    expect(exitCode).toBe(0);
    expect(errorText).toBe("");
    expect(await readdir(workspace.path("run"))).toEqual([]);
    expect(workspace.blockDevices.calls).toEqual(["close"]);
    await (await acquireFileLock(`${config.stateDir}/lock`, { what: "it", waitSeconds: 0 })).release();
  });

  test("adopts before it serves, and keeps an orphan image that a device serves", async () => {
    await workspace.makeDirectory("disk", "volumes", "served");
    await workspace.makeDirectory("disk", "volumes", "unserved");
    workspace.blockDevices.listVolumeIds = async () => ["served"];
    workspace.blockDevices.adopt = async () => {
      expect(await readdir(workspace.directory)).not.toContain("run");
      return { entries: [{ volumeId: "served", action: "adopted", reason: "it was live" }] };
    };
    await runWhile(async () => undefined);
    expect(await readdir(workspace.path("disk", "volumes"))).toEqual(["served"]);
  });

  test("removes the inline volumes of pods that kubelet has forgotten, before it serves", async () => {
    const podPath = await workspace.makeDirectory("kubelet", "pods", "uid-1");
    const targetPath = `${await workspace.makeDirectory("kubelet", "pods", "uid-1", "volumes")}/mount`;
    const pod = { "csi.storage.k8s.io/ephemeral": "true", "csi.storage.k8s.io/pod.uid": "uid-1", size: "2Mi" };
    const volumeId = `csi-${"a".repeat(64)}`;
    const request = { volumeId, targetPath, volumeCapability: mountCapability, volumeContext: pod };
    await runWhile(async (client) => {
      expect(await client.call(rpcs.nodePublishVolume, request)).toMatchObject({ code: "OK" });
      await workspace.mounter.unmount(targetPath);
      await rm(podPath, { recursive: true });
    });
    expect(await readdir(workspace.path("disk", "volumes"))).toEqual([volumeId]);
    await runWhile(async () => {
      expect(await readdir(workspace.path("disk", "volumes"))).toEqual([]);
    });
  });

  test("starts, and keeps the images, though the journal says of one device what is not and of another nothing", async () => {
    const machine = await FakeNode.create();
    const engine = machine.startEngine();
    for (const volumeId of ["corrupt", "mismatched"]) {
      await workspace.makeDirectory("disk", "volumes", volumeId);
      const path = workspace.path("disk", "volumes", volumeId, "image");
      await writeFile(path, Buffer.alloc(1 << 20));
      await engine.attach(toSpec(volumeId, path, 1 << 20));
    }
    machine.addon.kill();
    await writeFile(`${machine.journalFolder}/corrupt.json`, "{");
    for (const device of machine.kernel.devices.values()) device.sizeBytes = 1n << 30n;
    parts.createBlockDevices = () => machine.startEngine();
    await runWhile(async () => undefined);
    expect(errorText).toBe("");
    expect(machine.kernel.deviceIds()).toEqual([0, 1]);
    expect(await readdir(workspace.path("disk", "volumes"))).toEqual(["corrupt", "mismatched"]);
    await machine.destroy();
  });
});

describe("the end of a node with work whose call has passed its deadline", () => {
  let atWork: Gate;
  let end: Gate;
  let held: FileLock[];
  let recordsAtRelease: string[] | undefined;

  beforeEach(() => {
    [atWork, end, held, recordsAtRelease] = [createGate(), createGate(), [], undefined];
    parts.runCommand = async (program, args, options) => {
      if (program === "fallocate") {
        atWork.open();
        await end.opened;
      }
      return await runRealCommand(program, args, options);
    };
    parts.acquireLock = async (...order) => {
      const lock = await acquireFileLock(...order);
      held.push(lock);
      const release = async () => {
        recordsAtRelease = await listRecords();
        await lock.release();
      };
      return { ...lock, release };
    };
  });

  const lockPool = () => acquireFileLock(workspace.path("disk", "lock"), { what: "the pool", waitSeconds: 0 });

  async function listRecords(): Promise<string[]> {
    const paths = await readdir(workspace.path("disk", "volumes"), { recursive: true });
    return paths.filter((path) => path.endsWith("/volume.json"));
  }

  async function createInVain(client: RpcClient): Promise<void> {
    const request = { name: "big", capacityRange: range, volumeCapabilities: [blockCapability] };
    const answer = client.call(rpcs.createVolume, request, { deadlineMs: 500 });
    await atWork.opened;
    expect((await answer).code).toBe("DEADLINE_EXCEEDED");
  }

  test("waits for it before it lets others have the pool", async () => {
    const exitCode = await runWhile(async (client) => {
      await createInVain(client);
      void waitUntil(async () => (await readdir(workspace.path("run"))).length === 0).then(end.open);
    });
    expect(exitCode).toBe(0);
    expect(recordsAtRelease).toHaveLength(1);
    await (await lockPool()).release();
  });

  test("lets nobody have the pool while it is not over, and does not wait for ever", async () => {
    parts.stopMsMax = 1;
    expect(await runWhile(createInVain)).toBe(0);
    expect(recordsAtRelease).toBeUndefined();
    expect(await rejectionOf(lockPool())).toMatchObject({ message: /the pool is in use by process/ });
    end.open();
    await waitUntil(async () => (await listRecords()).length === 1);
    for (const lock of held) await lock.release();
  });
});

/** A port that was free a moment ago. */
async function findPort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

describe("metrics", () => {
  test("are served from before the devices are back until the driver has ended", async () => {
    const port = await findPort();
    config.metricsEndpoint = { host: "127.0.0.1", port };
    const scrape = async () => await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
    workspace.blockDevices.adopt = async () => {
      expect(await scrape()).toContain('ublk_csi_build_info{version="1.2.3"');
      return { entries: [] };
    };
    await runWhile(async (client) => {
      await client.call(rpcs.nodeGetInfo, {});
      const text = await scrape();
      expect(text).toContain('ublk_csi_pool_state{pool="disk",state="normal"} 1');
      expect(text).toContain('ublk_csi_rpc_duration_seconds_count{method="Node/NodeGetInfo",code="OK"} 1');
      expect(text).toContain("ublk_csi_trim_reclaimed_bytes_total 0");
    });
    expect(errorText).toBe("");
    await expect(scrape()).rejects.toThrow("fetch failed");
  });

  test("at an address that another has end the start with one line, before any device is touched", async () => {
    const other = createServer().listen(0, "127.0.0.1");
    await once(other, "listening");
    const { port } = other.address() as AddressInfo;
    config.metricsEndpoint = { host: "127.0.0.1", port };
    expect(await startOnly()).toBe(1);
    other.close();
    expect(errorText).toMatch(/^ublk-csi: cannot serve metrics at http:\/\/127\.0\.0\.1:\d+: [^\n]+\n$/);
    expect(workspace.blockDevices.calls).toEqual([]);
    await (await acquireFileLock(`${config.stateDir}/lock`, { what: "it", waitSeconds: 0 })).release();
  });
});

describe("a start that cannot be", () => {
  test("on a kernel without ublk says what is missing and touches nothing", async () => {
    parts.checkKernel = async () => {
      throw new Error("no ublk in kernel 5.10.0: it needs 6.0 or newer");
    };
    expect(await startOnly()).toBe(1);
    expect(errorText).toBe("ublk-csi: no ublk in kernel 5.10.0: it needs 6.0 or newer\n");
    expect(await readdir(workspace.directory)).not.toContain("state");
  });

  test("with a state directory in use names the holder", async () => {
    await mkdir(config.stateDir);
    const lock = await acquireFileLock(`${config.stateDir}/lock`, { what: "it" });
    expect(await startOnly()).toBe(1);
    await lock.release();
    expect(errorText).toBe(
      `ublk-csi: state directory ${config.stateDir} is in use by process ${process.pid}: stop it, or choose another\n`,
    );
  }, 15_000);

  test("with an engine of its own on the same journal names that one", async () => {
    await mkdir(`${config.stateDir}/engine`, { recursive: true });
    const lock = await acquireFileLock(`${config.stateDir}/engine/lock`, { what: "it" });
    expect(await startOnly()).toBe(1);
    expect(errorText).toContain(`engine state ${config.stateDir}/engine is in use by process ${process.pid}`);
    config.engineSocketPath = "/run/engine.sock";
    expect(await startOnly()).toBe(0);
    await lock.release();
  }, 15_000);

  test("with a pool in use by a driver with another state directory is refused", async () => {
    const lock = await acquireFileLock(workspace.path("disk", "lock"), { what: "it" });
    expect(await startOnly()).toBe(1);
    await lock.release();
    expect(errorText).toMatch(/pool .*disk is in use by process/);
  }, 15_000);

  test("with a missing pool leaves no lock behind", async () => {
    await rm(workspace.path("disk"), { recursive: true });
    expect(await startOnly()).toBe(1);
    expect(errorText).toMatch(/^ublk-csi: pool disk: directory .* does not exist: [^\n]+\n$/);
    await (await acquireFileLock(`${config.stateDir}/lock`, { what: "it", waitSeconds: 0 })).release();
  });

  test("because the endpoint is a file keeps the file", async () => {
    config.socketPath = workspace.path("file");
    await writeFile(config.socketPath, "precious");
    expect(await startOnly()).toBe(1);
    expect(errorText).toContain("exists and is not a socket");
    expect(await readFile(config.socketPath, "utf8")).toBe("precious");
    expect(workspace.blockDevices.calls).toEqual(["close"]);
  });
});
