import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { waitFor } from "../../engine/devices/block-nodes.js";
import { FakeNode } from "../../engine/testing/fake-node.js";
import type { UblkBlockDevices } from "../../engine/ublk-block-devices.js";
import { createSilentLogger } from "../../log.js";
import { EngineClient } from "../engine-client.js";
import type { EngineConnectionOptions } from "../engine-connection.js";
import { EngineServer } from "../engine-server.js";
import type { HandOverGiver } from "../hand-over-giver.js";

/** An engine on a fake kernel behind a real socket. Its clients stay while engines come and go. */
export class ServedEngine {
  /** How often the engine has handed over. */
  handedOverCount = 0;
  private readonly clients: EngineClient[] = [];

  private constructor(
    readonly node: FakeNode,
    readonly folder: string,
    public engine: UblkBlockDevices,
  ) {}

  server!: EngineServer;

  static async start(): Promise<ServedEngine> {
    const node = await FakeNode.create();
    const folder = await mkdtemp(join(tmpdir(), "ublk-engine-socket-"));
    const served = new ServedEngine(node, folder, node.startEngine());
    await served.serve();
    return served;
  }

  get socketPath(): string {
    return join(this.folder, "engine.sock");
  }

  connect(patienceMs = 5_000, options: EngineConnectionOptions = {}): EngineClient {
    const client = new EngineClient(this.socketPath, { patienceMs, ...options });
    this.clients.push(client);
    return client;
  }

  /** Resolves once so many callers read streams. */
  async waitForListeners(count: number): Promise<void> {
    const isReached = await waitFor(async () => this.server.streamCount === count, { timeoutMs: 10_000 });
    if (!isReached) throw new Error(`${this.server.streamCount} streams are open, expected ${count}`);
  }

  /** The engine dies, and the next one starts. */
  async kill(): Promise<void> {
    await this.server.stop(0);
    this.node.addon.kill();
    await this.startNext();
  }

  /** The engine ends in good order, and the next one starts. */
  async leave(): Promise<void> {
    await this.server.stop(1_000);
    await this.engine.leave();
    await this.startNext();
  }

  async destroy(): Promise<void> {
    for (const client of this.clients) await client.close();
    await this.server.stop(0);
    await this.node.destroy();
    await rm(this.folder, { recursive: true });
  }

  /** Another engine serves, with every device still to be taken back. */
  async startWithoutAdoption(): Promise<void> {
    this.engine = this.node.startEngine();
    await this.serve();
  }

  private async startNext(): Promise<void> {
    this.engine = this.node.startEngine();
    await this.engine.adopt();
    await this.serve();
  }

  /** Serves again, with another way to hand over. */
  async serveHandOver(giver: HandOverGiver): Promise<void> {
    await this.server.stop(0);
    await this.serve(giver);
  }

  private async serve(giver?: HandOverGiver): Promise<void> {
    this.server = new EngineServer({
      socketPath: this.socketPath,
      devices: this.engine,
      logger: createSilentLogger(),
      onHandedOver: () => void this.handedOverCount++,
      ...(giver && { giver }),
    });
    await this.server.listen();
    await this.server.publish();
  }
}
