import type { ClientReadableStream } from "@grpc/grpc-js";
import type { BlockDeviceListener } from "../engine/block-devices.js";
import { EngineService, type EventsResponse } from "../gen/engine/v1/engine.js";
import type { EngineConnection } from "./engine-connection.js";
import { fromEventMessage } from "./event-messages.js";

const pauseMs = 100;

/** Listens to the events of whichever engine serves the socket, until it is ended. */
export class EventSubscription {
  /** Settled once the listener hears what happens. */
  readonly isHeard: Promise<void>;
  private setHeard: () => void = () => undefined;
  private stream: ClientReadableStream<EventsResponse> | undefined;
  private timer: NodeJS.Timeout | undefined;
  private isEnded = false;

  constructor(
    private readonly connection: EngineConnection,
    private readonly listener: BlockDeviceListener,
  ) {
    this.isHeard = new Promise((resolve) => {
      this.setHeard = resolve;
    });
    this.open();
  }

  end(): void {
    this.isEnded = true;
    clearTimeout(this.timer);
    this.stream?.cancel();
  }

  private open(): void {
    const stream = this.connection.openStream(EngineService.events, { volumeIds: [] });
    this.stream = stream;
    stream.on("data", (message: EventsResponse) => {
      if (message.event?.$case === "subscribed") this.setHeard();
      const event = fromEventMessage(message);
      if (event !== undefined && !this.isEnded) queueMicrotask(() => this.listener(event));
    });
    stream.on("error", () => undefined); // "close" follows
    stream.once("close", () => this.reopenLater());
  }

  /** It does not keep the process alive: nobody waits for events alone. */
  private reopenLater(): void {
    if (this.isEnded) return;
    this.timer = setTimeout(() => this.isEnded || this.open(), pauseMs).unref();
  }
}
