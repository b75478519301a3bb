import {
  type AdoptionReport,
  type BlockDevice,
  BlockDeviceError,
  type BlockDeviceSpec,
  type BlockDevices,
} from "../engine/block-devices.js";
import { EngineService } from "../gen/engine/v1/engine.js";
import { EngineConnection, type EngineConnectionOptions } from "./engine-connection.js";
import { fromAdoptionMessage, fromDeviceMessage, toAttachRequest } from "./messages.js";

/** The devices of an engine in another process. Its calls wait, up to a bound, while the engine restarts. */
export class EngineClient implements BlockDevices {
  private readonly connection: EngineConnection;

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
    try {
      return fromDeviceMessage((await this.connection.call(EngineService.get, { volumeId })).device);
    } catch (error) {
      if (error instanceof BlockDeviceError && error.code === "not_found") return undefined;
      throw error;
    }
  }

  async list(): Promise<BlockDevice[]> {
    return (await this.connection.call(EngineService.list, {})).devices.map(fromDeviceMessage);
  }

  async adopt(): Promise<AdoptionReport> {
    return { entries: (await this.connection.call(EngineService.adopt, {})).entries.map(fromAdoptionMessage) };
  }

  /** Ends the connection only: the devices belong to the engine, and nothing happens to them. */
  async close(): Promise<void> {
    this.connection.close();
  }
}
