import type { ServerWritableStream } from "@grpc/grpc-js";
import type { BlockDeviceEvent, BlockDevices } from "../engine/block-devices.js";
import { toMessage } from "../errors.js";
import type { EventsRequest, EventsResponse, StatsRequest, StatsResponse } from "../gen/engine/v1/engine.js";
import { toStatus } from "../rpc/status.js";
import { toErrorTrailer } from "./engine-errors.js";
import { toEventMessage } from "./event-messages.js";
import { checkRange, checkVolumeId, checkVolumeIds } from "./request-checks.js";
import { toStatsMessage } from "./stats-messages.js";

type StatsCall = ServerWritableStream<StatsRequest, StatsResponse>;
type EventsCall = ServerWritableStream<EventsRequest, EventsResponse>;

const shortestIntervalMs = 100;
const longestIntervalMs = 3_600_000;
/** A reader may be so far behind before it misses events. */
const queuedEventsMax = 256;

/** The calls that answer with a stream. Each ends with its caller, or with the engine. */
export class EngineStreams {
  private readonly endings = new Set<() => void>();

  constructor(
    private readonly devices: BlockDevices,
    private readonly isEnding: () => boolean,
  ) {}

  /** Lets the streams end in good order, so that the server can. */
  endAll(): void {
    for (const end of [...this.endings]) end();
  }

  /** How many callers are listening. */
  get count(): number {
    return this.endings.size;
  }

  readonly stats = (call: StatsCall): void => {
    void this.guarded(call, async () => {
      const volumeIds = checkVolumeIds(call.request.volumeIds);
      const { intervalMs } = call.request;
      await this.sendStats(call, volumeIds);
      if (intervalMs === 0) return void call.end();
      this.repeat(call, checkRange("interval_ms", intervalMs, shortestIntervalMs, longestIntervalMs), volumeIds);
    });
  };

  readonly events = (call: EventsCall): void => {
    void this.guarded(call, async () => {
      const wanted = new Set(call.request.volumeIds.map((volumeId) => checkVolumeId(volumeId)));
      const outbox = new Outbox(call);
      const unsubscribe = this.devices.onEvent((event: BlockDeviceEvent) => {
        if (wanted.size === 0 || wanted.has(event.volumeId)) outbox.send(toEventMessage(event));
      });
      this.untilEnd(call, unsubscribe);
      outbox.send({ event: { $case: "subscribed", value: {} } });
    });
  };

  private async sendStats(call: StatsCall, volumeIds: readonly string[]): Promise<void> {
    const stats = await Promise.all(
      volumeIds.map(async (volumeId) => toStatsMessage(volumeId, await this.devices.stats(volumeId))),
    );
    call.write({ devices: stats });
  }

  /** One answer at a time: a reader that is slow gets fewer of them. */
  private repeat(call: StatsCall, intervalMs: number, volumeIds: readonly string[]): void {
    let isBusy = false;
    const timer = setInterval(() => {
      if (isBusy || call.writableNeedDrain) return;
      isBusy = true;
      void this.guarded(call, () => this.sendStats(call, volumeIds)).finally(() => {
        isBusy = false;
      });
    }, intervalMs);
    this.untilEnd(call, () => clearInterval(timer));
  }

  /** Frees what a stream holds when its caller is gone, it has failed, or the engine ends. */
  private untilEnd(call: StatsCall | EventsCall, free: () => void): void {
    const finish = () => {
      if (!this.endings.delete(end)) return;
      free();
    };
    const end = () => {
      finish();
      call.end();
    };
    this.endings.add(end);
    for (const event of ["cancelled", "error", "close", "finish"]) call.once(event, finish);
    if (call.cancelled) finish();
  }

  private async guarded(call: StatsCall | EventsCall, action: () => Promise<void>): Promise<void> {
    try {
      await action();
    } catch (error) {
      if (call.cancelled || call.destroyed) return;
      const metadata = toErrorTrailer(error, this.isEnding());
      call.emit("error", { code: toStatus(error).code, details: toMessage(error), metadata });
    }
  }
}

/** Sends events to one reader without remembering more of them than a bound. */
class Outbox {
  private readonly waiting: EventsResponse[] = [];
  private lostCount = 0;

  constructor(private readonly call: EventsCall) {
    call.on("drain", () => this.flush());
  }

  send(message: EventsResponse): void {
    if (this.waiting.length >= queuedEventsMax) this.lostCount++;
    else this.waiting.push(message);
    if (!this.call.writableNeedDrain) this.flush();
  }

  private flush(): void {
    while (!this.call.writableNeedDrain) {
      const message = this.waiting.shift() ?? this.takeLost();
      if (message === undefined) return;
      this.call.write(message);
    }
  }

  private takeLost(): EventsResponse | undefined {
    if (this.lostCount === 0) return undefined;
    const count = this.lostCount;
    this.lostCount = 0;
    return { event: { $case: "lost", value: { count } } };
  }
}
