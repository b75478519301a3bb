import {
  type AdoptionReport,
  type BlockDevice,
  type BlockDeviceCapabilities,
  BlockDeviceError,
  type BlockDeviceLimits,
  type BlockDeviceListener,
  type BlockDeviceSpec,
  type BlockDeviceStats,
  type BlockDevices,
  type FreezeToken,
  type ImageCopy,
  type ImageCopySpec,
} from "../engine/block-devices.js";
import { EngineService } from "../gen/engine/v1/engine.js";
import { fromCopyMessage, toCopySpecMessage } from "./copy-messages.js";
import { EngineConnection, type EngineConnectionOptions } from "./engine-connection.js";
import { EventSubscription } from "./event-subscription.js";
import { toLimitsMessage } from "./limit-messages.js";
import { fromAdoptionMessage, fromDeviceMessage, toAttachRequest } from "./messages.js";
import { fromStatsMessage } from "./stats-messages.js";

/** The devices of an engine in another process. Its calls wait, up to a bound, while the engine restarts. */
export class EngineClient implements BlockDevices {
  private readonly connection: EngineConnection;
  private readonly subscriptions = new Set<EventSubscription>();

  constructor(socketPath: string, options: EngineConnectionOptions = {}) {
    this.connection = new EngineConnection(socketPath, options);
  }

  async attach(spec: BlockDeviceSpec): Promise<BlockDevice> {
    return fromDeviceMessage((await this.connection.call(EngineService.attach, toAttachRequest(spec))).device);
  }

  async detach(volumeId: string): Promise<void> {
    await this.connection.call(EngineService.detach, { volumeId });
  }

  async find(volumeId: string): Promise<BlockDevice | undefined> {
    return await undefinedWhenMissing(async () =>
      fromDeviceMessage((await this.connection.call(EngineService.get, { volumeId })).device),
    );
  }

  async list(): Promise<BlockDevice[]> {
    return (await this.connection.call(EngineService.list, {})).devices.map(fromDeviceMessage);
  }

  /** An engine that does not answer with ids yet has its devices alone. */
  async listVolumeIds(): Promise<string[]> {
    const { devices, volumeIds } = await this.connection.call(EngineService.list, {});
    return [...new Set([...volumeIds, ...devices.map(({ volumeId }) => volumeId)])];
  }

  async resize(volumeId: string, sizeBytes: bigint): Promise<BlockDevice> {
    return fromDeviceMessage((await this.connection.call(EngineService.resize, { volumeId, sizeBytes })).device);
  }

  async setLimits(volumeId: string, limits: BlockDeviceLimits): Promise<void> {
    await this.connection.call(EngineService.setLimits, { volumeId, limits: toLimitsMessage(limits) });
  }

  async freeze(volumeIds: readonly string[], { deadlineMs }: { deadlineMs: number }): Promise<FreezeToken> {
    return (await this.connection.call(EngineService.freeze, { volumeIds: [...volumeIds], deadlineMs })).token;
  }

  async thaw(volumeIds: readonly string[], token: FreezeToken): Promise<void> {
    await this.connection.call(EngineService.thaw, { volumeIds: [...volumeIds], token });
  }

  async startCopies(specs: readonly ImageCopySpec[], { deadlineMs }: { deadlineMs: number }): Promise<void> {
    await this.connection.call(EngineService.startCopies, { copies: specs.map(toCopySpecMessage), deadlineMs });
  }

  async findCopy(copyId: string): Promise<ImageCopy | undefined> {
    return await undefinedWhenMissing(async () =>
      fromCopyMessage((await this.connection.call(EngineService.getCopy, { copyId })).copy),
    );
  }

  async endCopy(copyId: string): Promise<void> {
    await this.connection.call(EngineService.endCopy, { copyId });
  }

  async capabilities(): Promise<BlockDeviceCapabilities> {
    const { onlineResize } = await this.connection.call(EngineService.getCapabilities, {});
    return { onlineResize };
  }

  async stats(volumeId: string): Promise<BlockDeviceStats> {
    const request = { volumeIds: [volumeId], intervalMs: 0 };
    const [stats] = (await this.connection.readFirst(EngineService.stats, request)).devices;
    if (stats === undefined)
      throw new BlockDeviceError("internal", `the engine sent no counters of volume ${volumeId}`);
    return fromStatsMessage(stats);
  }

  /** The subscription outlives the engine: what happens between two engines is not told. */
  onEvent(listener: BlockDeviceListener): () => void {
    const subscription = new EventSubscription(this.connection, listener);
    this.subscriptions.add(subscription);
    return () => {
      this.subscriptions.delete(subscription);
      subscription.end();
    };
  }

  /** Resolves once every listener hears what happens from then on. */
  async waitUntilListening(): Promise<void> {
    await Promise.all([...this.subscriptions].map(({ isHeard }) => isHeard));
  }

  async adopt(): Promise<AdoptionReport> {
    return { entries: (await this.connection.call(EngineService.adopt, {})).entries.map(fromAdoptionMessage) };
  }

  /** Ends the connection only: the devices belong to the engine, and nothing happens to them. */
  async close(): Promise<void> {
    for (const subscription of this.subscriptions) subscription.end();
    this.connection.close();
  }
}

async function undefinedWhenMissing<T>(ask: () => Promise<T>): Promise<T | undefined> {
  try {
    return await ask();
  } catch (error) {
    if (error instanceof BlockDeviceError && error.code === "not_found") return undefined;
    throw error;
  }
}
