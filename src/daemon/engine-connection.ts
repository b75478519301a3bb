import {
  type CallOptions,
  Client,
  type ClientReadableStream,
  credentials,
  Metadata,
  type MethodDefinition,
  type ServiceError,
  status,
} from "@grpc/grpc-js";
import { BlockDeviceError } from "../engine/block-devices.js";
import { fromErrorTrailer, isWorthRetrying } from "./engine-errors.js";

export interface EngineConnectionOptions {
  /** How long a call waits for an engine that restarts or is not there yet. */
  patienceMs?: number;
  /** How long an engine may work on one call. */
  answerTimeoutMs?: number;
}

const defaultPatienceMs = 30_000;
const defaultAnswerTimeoutMs = 120_000;
const pauseMs = 50;
// An engine that has just started must not wait for a client that still pauses after its last attempt.
const channelOptions = { "grpc.initial_reconnect_backoff_ms": 20, "grpc.max_reconnect_backoff_ms": 200 };

/** Calls an engine by its socket, whichever engine is behind it at the moment. */
export class EngineConnection {
  readonly client: Client;
  private readonly patienceMs: number;
  private readonly answerTimeoutMs: number;
  private isClosed = false;

  constructor(
    readonly socketPath: string,
    options: EngineConnectionOptions = {},
  ) {
    this.client = new Client(`unix:${socketPath}`, credentials.createInsecure(), channelOptions);
    this.patienceMs = options.patienceMs ?? defaultPatienceMs;
    this.answerTimeoutMs = options.answerTimeoutMs ?? defaultAnswerTimeoutMs;
  }

  /**
   * Calls one method until an engine answers it, for at most the patience. Every call of the API may be repeated, so one
   * that a dying engine did not answer is sent again to the next.
   */
  async call<Request, Response>(method: MethodDefinition<Request, Response>, request: Request): Promise<Response> {
    return await this.patiently(() => this.callOnce(method, request));
  }

  /** As `call`, for a method that answers with a stream: its first message. */
  async readFirst<Request, Response>(method: MethodDefinition<Request, Response>, request: Request): Promise<Response> {
    return await this.patiently(() => readFirstOnce(this.openStream(method, request, this.answerOptions())));
  }

  /** Calls a method that answers with a stream, once. Without a deadline among the options it lasts until it is ended. */
  openStream<Request, Response>(
    { path, requestSerialize, responseDeserialize }: MethodDefinition<Request, Response>,
    request: Request,
    options: CallOptions = {},
  ): ClientReadableStream<Response> {
    this.assertOpen();
    return this.client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request, options);
  }

  private answerOptions(): CallOptions {
    return { deadline: Date.now() + this.answerTimeoutMs };
  }

  private async patiently<T>(attempt: () => Promise<T>): Promise<T> {
    const deadline = performance.now() + this.patienceMs;
    for (;;) {
      this.assertOpen();
      try {
        return await attempt();
      } catch (error) {
        if (error instanceof BlockDeviceError) throw error;
        const failure = this.explain(error as ServiceError);
        if (failure.isFinal || performance.now() >= deadline) throw failure.error;
      }
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
  }

  close(): void {
    this.isClosed = true;
    this.client.close();
  }

  assertOpen(): void {
    if (!this.isClosed) return;
    throw new BlockDeviceError("unavailable", `the connection to the engine at ${this.socketPath} is closed`);
  }

  private callOnce<Request, Response>(
    { path, requestSerialize, responseDeserialize }: MethodDefinition<Request, Response>,
    request: Request,
  ): Promise<Response> {
    const options = this.answerOptions();
    return new Promise((resolve, reject) => {
      const answer = (error: ServiceError | null, response?: Response) =>
        error === null ? resolve(response as Response) : reject(error);
      this.client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        request,
        new Metadata(),
        options,
        answer,
      );
    });
  }

  /** What a failed call means for its caller, and whether trying again cannot help. */
  explain(error: ServiceError): { error: BlockDeviceError; isFinal: boolean } {
    const answered = fromErrorTrailer(error);
    if (answered) return { error: answered, isFinal: !isWorthRetrying(error) };
    const isBroken = error.code === status.UNAVAILABLE || error.code === status.CANCELLED;
    const code = isBroken || error.code === status.DEADLINE_EXCEEDED ? "unavailable" : "internal";
    const message =
      `the engine at ${this.socketPath} does not answer (${error.details || error.message}): ` +
      "is ublk-csi engine running, and may this user open its socket?";
    return { error: new BlockDeviceError(code, message, { cause: error }), isFinal: !isBroken };
  }
}

function readFirstOnce<T>(stream: ClientReadableStream<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    stream.once("data", (message: T) => {
      resolve(message);
      stream.cancel();
    });
    stream.on("error", reject);
    stream.once("end", () => reject(new BlockDeviceError("internal", "the engine ended a stream without an answer")));
  });
}
