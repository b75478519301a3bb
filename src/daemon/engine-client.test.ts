import { mkdtemp, rm, truncate } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { waitFor } from "../engine/block-nodes.js";
import { type BlockDevicesHarness, describeBlockDevices } from "../engine/testing/block-devices-contract.js";
import { FakeNode, toSpec } from "../engine/testing/fake-node.js";
import type { UblkBlockDevices } from "../engine/ublk-block-devices.js";
import { createSilentLogger } from "../log.js";
import { EngineClient } from "./engine-client.js";
import { EngineServer } from "./engine-server.js";

const mebibyte = 1 << 20;

/** An engine on a fake kernel behind a real socket, and the client that stays while engines come and go. */
class RemoteEngine {
  private constructor(
    readonly node: FakeNode,
    private readonly folder: string,
    private engine: UblkBlockDevices,
    private server: EngineServer,
  ) {}

  static async start(): Promise<RemoteEngine> {
    const node = await FakeNode.create();
    const folder = await mkdtemp(join(tmpdir(), "ublk-engine-socket-"));
    const engine = node.startEngine();
    return new RemoteEngine(node, folder, engine, await serve(engine, folder));
  }

  connect(): EngineClient {
    return new EngineClient(join(this.folder, "engine.sock"), { patienceMs: 5_000 });
  }

  /** Resolves once so many clients have streams open. */
  async waitForListeners(count: number): Promise<void> {
    const isReached = await waitFor(async () => this.server.streamCount === count, { timeoutMs: 10_000 });
    if (!isReached) throw new Error(`${this.server.streamCount} streams are open, expected ${count}`);
  }

  async kill(): Promise<void> {
    await this.server.stop(0);
    this.node.addon.kill();
    await this.startNext();
  }

  async leave(): Promise<void> {
    await this.server.stop(1_000);
    await this.engine.leave();
    await this.startNext();
  }

  async destroy(): Promise<void> {
    await this.server.stop(0);
    await this.node.destroy();
    await rm(this.folder, { recursive: true });
  }

  private async startNext(): Promise<void> {
    this.engine = this.node.startEngine();
    await this.engine.adopt();
    this.server = await serve(this.engine, this.folder);
  }
}

async function serve(devices: UblkBlockDevices, folder: string): Promise<EngineServer> {
  const server = new EngineServer({ socketPath: join(folder, "engine.sock"), devices, logger: createSilentLogger() });
  await server.listen();
  await server.publish();
  return server;
}

async function createHarness(): Promise<BlockDevicesHarness> {
  const remote = await RemoteEngine.start();
  const { node } = remote;
  const devices = remote.connect();
  const clients = [devices];
  const connect = () => {
    const client = remote.connect();
    clients.push(client);
    return client;
  };
  return {
    isRemote: true,
    devices,
    createVolume: async (volumeId) => toSpec(volumeId, await node.createImage(volumeId, mebibyte), mebibyte),
    resizeImage: ({ image }, sizeBytes) => truncate(image.path, Number(sizeBytes)),
    canResize: true,
    readLimits: (volumeId) => node.readLimits(volumeId),
    waitUntilListening: () => remote.waitForListeners(1),
    hold: async ({ deviceId }) => {
      node.users.set(deviceId, [{ kind: "mount", name: "/mnt/somewhere" }]);
      return async () => void node.users.delete(deviceId);
    },
    restartAfterKill: async () => {
      await remote.kill();
      return connect();
    },
    restartAfterClose: async () => {
      await remote.leave();
      return connect();
    },
    destroy: async () => {
      for (const client of clients) await client.close();
      await remote.destroy();
    },
  };
}

describeBlockDevices("EngineClient", createHarness);
