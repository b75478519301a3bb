import type { ClientDuplexStream, ServiceError } from "@grpc/grpc-js";
import type { AdoptionEntry } from "../engine/block-devices.js";
import { BlockDeviceError } from "../engine/block-devices.js";
import type { PlanRow } from "../engine/reconciliation/reconciliation-plan.js";
import { EngineService, type HandOverRequest, type HandOverResponse } from "../gen/engine/v1/engine.js";
import { EngineConnection } from "./engine-connection.js";
import { fromErrorTrailer } from "./engine-errors.js";
import { Mailbox } from "./mailbox.js";

/** What an engine does to take devices from another. */
export interface HandOverTarget {
  plan(): Promise<PlanRow[]>;
  recover(volumeId: string): Promise<AdoptionEntry>;
}

/** The old engine stopped answering in the middle: it is dead, or it will take back what it has given. */
export class OldEngineLost extends Error {
  override readonly name = "OldEngineLost";
}

const answerMsMax = 60_000;

type Answer = NonNullable<HandOverResponse["step"]>;
type AnswerOf<Name extends Answer["$case"]> = Extract<Answer, { $case: Name }>["value"];

/** The new engine's side of a hand-over: a conversation with the engine that serves now. */
export class HandOverTaker {
  private readonly connection: EngineConnection;
  private readonly stream: ClientDuplexStream<HandOverRequest, HandOverResponse>;
  private readonly inbox = new Mailbox<HandOverResponse>();

  constructor(socketPath: string) {
    this.connection = new EngineConnection(socketPath);
    const { path, requestSerialize, responseDeserialize } = EngineService.handOver;
    this.stream = this.connection.client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize);
    this.stream.on("data", (response: HandOverResponse) => this.inbox.add(response));
    this.stream.on("error", (error: ServiceError) => this.inbox.close(toFailure(error)));
    this.stream.on("end", () => this.inbox.close(new OldEngineLost("the old engine ended the conversation")));
  }

  /** Takes every device, one after another, so that the I/O of each waits for its own hand-over only. */
  async takeAll(target: HandOverTarget): Promise<void> {
    const { volumeIds } = await this.ask({ $case: "begin", value: { serverPid: process.pid } }, "ready");
    assertKnown(volumeIds, await target.plan());
    for (const volumeId of volumeIds) await this.take(target, volumeId);
  }

  /** From here on the old engine ends by itself. */
  async complete(): Promise<void> {
    await this.ask({ $case: "complete", value: {} }, "finished");
  }

  /** Ends the conversation. Before `complete` it makes the old engine take back what it gave. */
  close(): void {
    this.stream.cancel();
    this.connection.close();
  }

  private async take(target: HandOverTarget, volumeId: string): Promise<void> {
    await this.ask({ $case: "release", value: { volumeId } }, "released");
    const { action, reason } = await target.recover(volumeId);
    if (action === "adopted") return;
    throw new BlockDeviceError("unavailable", `the device of volume ${volumeId} cannot be taken: ${reason}`);
  }

  private async ask<Name extends Answer["$case"]>(
    step: NonNullable<HandOverRequest["step"]>,
    name: Name,
  ): Promise<AnswerOf<Name>> {
    this.stream.write({ step });
    const answer = (await this.inbox.next(answerMsMax)).step;
    if (answer?.$case === name) return answer.value as AnswerOf<Name>;
    throw new BlockDeviceError(
      "internal",
      `the old engine answered ${answer?.$case} to ${step.$case}: another version?`,
    );
  }
}

/** Before anything is touched: a device of which this engine could not take care stays where it is. */
function assertKnown(volumeIds: readonly string[], plan: readonly PlanRow[]): void {
  const rows = new Map(plan.map((row) => [row.volumeId, row]));
  for (const volumeId of volumeIds) {
    const row = rows.get(volumeId);
    if (row?.action === "wait") continue; // served by the old engine, as it should be
    const reason = row?.reason ?? "this journal does not know it: is --state-dir the same?";
    throw new BlockDeviceError("unavailable", `the device of volume ${volumeId} could not be served here: ${reason}`);
  }
}

function toFailure(error: ServiceError): Error {
  const answered = fromErrorTrailer(error);
  if (answered) return answered;
  return new OldEngineLost(`the old engine does not answer (${error.details || error.message})`, { cause: error });
}
