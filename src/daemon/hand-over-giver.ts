import type { ServerDuplexStream } from "@grpc/grpc-js";
import { type AdoptionReport, BlockDeviceError } from "../engine/block-devices.js";
import { toMessage } from "../errors.js";
import type { HandOverRequest, HandOverResponse } from "../gen/engine/v1/engine.js";
import type { Logger } from "../log.js";
import { toStatus } from "../rpc/status.js";
import { toErrorTrailer } from "./engine-errors.js";
import { type Eviction, machineEviction } from "./eviction.js";
import { Mailbox } from "./mailbox.js";
import { checkVolumeId } from "./request-checks.js";

type HandOverCall = ServerDuplexStream<HandOverRequest, HandOverResponse>;

/** What an engine does to hand its devices over. */
export interface HandOverSource {
  suspend(): Promise<string[]>;
  release(volumeId: string): Promise<void>;
  takeBack(): Promise<AdoptionReport>;
}

export interface HandOverGiverParts {
  source: HandOverSource;
  logger: Logger;
  /** The new engine has every device: this one may end. */
  onFinished: () => void;
  /** How long the new engine may be silent. */
  silenceMsMax?: number;
  eviction?: Eviction;
}

const defaultSilenceMsMax = 30_000;

/** The old engine's side of a hand-over. docs/engine.md has the protocol and what happens when a side dies. */
export class HandOverGiver {
  private session: Session | undefined;
  private running: Promise<void> = Promise.resolve();
  private isEnding = false;

  constructor(private readonly parts: HandOverGiverParts) {}

  readonly handOver = (call: HandOverCall): void => {
    if (this.isEnding) refuse(call, shuttingDown());
    else if (this.session) refuse(call, new BlockDeviceError("unavailable", "another hand-over is going on"));
    else this.running = this.run(call);
  };

  /**
   * This engine ends: a hand-over that is going on is broken off, and nothing is taken back, for the next engine has the
   * rest too. Resolves when it is over.
   */
  async end(): Promise<void> {
    this.isEnding = true;
    this.session?.breakOff(shuttingDown());
    await this.running;
  }

  private async run(call: HandOverCall): Promise<void> {
    const { source, logger, onFinished, silenceMsMax = defaultSilenceMsMax, eviction = machineEviction } = this.parts;
    const session = new Session(call, source, silenceMsMax);
    this.session = session;
    try {
      await session.give();
      logger.info("handed over");
      onFinished();
    } catch (error) {
      logger.warn({ err: error }, `hand-over failed: ${toMessage(error)}`);
      if (this.isEnding) return void call.end();
      refuse(call, error);
      await session.undo(logger, eviction).catch((err: unknown) => this.tellOfUndo(err));
    } finally {
      this.session = undefined;
    }
  }

  private tellOfUndo(err: unknown): void {
    this.parts.logger.error({ err }, "what was handed over cannot be taken back");
  }
}

class Session {
  private readonly inbox = new Mailbox<HandOverRequest>();
  private suspending: Promise<string[]> = Promise.resolve([]);
  private isSuspended = false;
  private successorPid = 0;

  constructor(
    private readonly call: HandOverCall,
    private readonly source: HandOverSource,
    private readonly silenceMsMax: number,
  ) {
    call.on("data", (request: HandOverRequest) => this.inbox.add(request));
    for (const event of ["end", "cancelled", "error", "close"]) {
      call.on(event, () => this.inbox.close(new BlockDeviceError("unavailable", "the new engine went away")));
    }
  }

  breakOff(reason: Error): void {
    this.inbox.close(reason);
  }

  /** Resolves once the new engine has everything. */
  async give(): Promise<void> {
    const left = new Set(await this.begin());
    for (;;) {
      const step = await this.next();
      if (step.$case === "complete") return this.finish(left);
      if (step.$case !== "release") throw outOfOrder(step.$case);
      await this.release(checkVolumeId(step.value.volumeId), left);
    }
  }

  /** Serves again whatever the new engine has let go of, or has died with. */
  async undo(logger: Logger, eviction: Eviction): Promise<void> {
    await this.suspending.catch(() => undefined); // so that it cannot close what is opened here
    if (!this.isSuspended) return;
    const { entries } = await this.source.takeBack();
    logger.info({ entries }, "took back what was handed over");
    const stuck = entries.flatMap(({ action, deviceId }) =>
      action === "failed" && deviceId !== undefined ? [deviceId] : [],
    );
    if (stuck.length === 0 || !(await eviction.holdsOneOf(this.successorPid, stuck))) return;
    logger.error(
      { successorPid: this.successorPid, stuck },
      "the new engine keeps devices and does not answer: killing it",
    );
    eviction.kill(this.successorPid);
    await this.source.takeBack();
  }

  private async begin(): Promise<string[]> {
    const step = await this.next();
    if (step.$case !== "begin") throw outOfOrder(step.$case);
    this.successorPid = step.value.serverPid;
    this.suspending = this.source.suspend().then((volumeIds) => {
      this.isSuspended = true;
      return volumeIds;
    });
    const volumeIds = await this.inbox.unlessClosed(this.suspending);
    this.call.write({ step: { $case: "ready", value: { volumeIds } } });
    return volumeIds;
  }

  private async release(volumeId: string, left: Set<string>): Promise<void> {
    if (!left.has(volumeId)) throw new BlockDeviceError("invalid", `volume ${volumeId} is not mine to hand over`);
    // A device that is stuck must not keep the others from being taken back.
    await this.inbox.unlessClosed(this.source.release(volumeId));
    left.delete(volumeId);
    this.call.write({ step: { $case: "released", value: { volumeId } } });
  }

  private finish(left: Set<string>): void {
    if (left.size > 0) throw new BlockDeviceError("invalid", `complete, while ${left.size} devices are still here`);
    this.call.write({ step: { $case: "finished", value: {} } });
    this.call.end();
  }

  private async next(): Promise<NonNullable<HandOverRequest["step"]>> {
    const { step } = await this.inbox.next(this.silenceMsMax);
    if (step === undefined) throw new BlockDeviceError("invalid", "a step that this version does not know");
    return step;
  }
}

function shuttingDown(): BlockDeviceError {
  return new BlockDeviceError("unavailable", "the engine is shutting down");
}

function outOfOrder(name: string): BlockDeviceError {
  return new BlockDeviceError("invalid", `the step ${name} is out of order`);
}

function refuse(call: HandOverCall, error: unknown): void {
  if (call.cancelled || call.destroyed) return;
  call.emit("error", { code: toStatus(error).code, details: toMessage(error), metadata: toErrorTrailer(error, false) });
}
