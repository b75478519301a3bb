import type { BlockDevices } from "../engine/block-devices.js";
import { type EngineServer as EngineMethods, EngineService } from "../gen/engine/v1/engine.js";
import type { Logger } from "../log.js";
import type { AnyHandler } from "../rpc/handler.js";
import { withLogging } from "../rpc/logging.js";
import { SocketServer } from "../rpc/server.js";
import { implementService } from "../rpc/service.js";
import { toErrorTrailer } from "./engine-errors.js";
import { createEngineService } from "./engine-service.js";
import { EngineSocket } from "./engine-socket.js";
import { EngineStreams } from "./engine-streams.js";
import { HandOverGiver, type HandOverSource } from "./hand-over-giver.js";

export interface EngineServerParts {
  socketPath: string;
  devices: BlockDevices & HandOverSource;
  logger: Logger;
  /** Another engine has every device now. */
  onHandedOver?: () => void;
  /** For tests: another giver than the engine's own. */
  giver?: HandOverGiver;
}

/** Serves the engine's API over block devices on a unix socket. */
export class EngineServer {
  private readonly socket: EngineSocket;
  private readonly server: SocketServer;
  private readonly streams: EngineStreams;
  private readonly giver: HandOverGiver;
  private isEnding = false;
  private isSucceeded = false;

  constructor({ socketPath, devices, logger, onHandedOver = () => undefined, giver }: EngineServerParts) {
    this.socket = new EngineSocket(socketPath);
    this.streams = new EngineStreams(devices, () => this.isEnding);
    const { stats, events } = this.streams;
    const onFinished = () => {
      this.announceEnd();
      this.isSucceeded = true;
      onHandedOver();
    };
    this.giver = giver ?? new HandOverGiver({ source: devices, logger, onFinished });
    const { handOver } = this.giver;
    const implementation = implementService<EngineMethods>(EngineService, createEngineService(devices), {
      wrap: (handler: AnyHandler) => withLogging()(handler),
      toTrailer: (thrown) => toErrorTrailer(thrown, this.isEnding),
      logger,
      streams: { stats, events, handOver },
    });
    const services = [{ definition: EngineService, implementation }];
    this.server = new SocketServer(this.socket.boundPath, services, logger, () => this.socket.prepare());
  }

  /** Answers whoever knows the socket's own name, which is nobody before `publish`. */
  async listen(): Promise<void> {
    await this.server.start();
  }

  /** New connections come here from now on. */
  async publish(): Promise<void> {
    await this.socket.publish();
  }

  /** How many callers read a stream. */
  get streamCount(): number {
    return this.streams.count;
  }

  /** Answers that fail from now on tell their callers to try again. */
  announceEnd(): void {
    this.isEnding = true;
  }

  /** Lets the running calls end, up to the deadline. */
  async stop(deadlineMs: number): Promise<void> {
    this.announceEnd();
    this.streams.endAll();
    // Whoever stops the server ends the devices next: nothing may change them behind his back.
    await this.giver.end();
    await this.server.stop(deadlineMs);
    // A successor renames its socket over ours at any moment: what lies there now is not ours to remove.
    if (!this.isSucceeded) await this.socket.withdraw();
  }
}
