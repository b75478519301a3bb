import { Client, credentials, Metadata, type MethodDefinition } from "@grpc/grpc-js";

/** As kubelet has it. */
const defaultDeadlineMs = 120_000;
/** A driver that has just started should not wait for a client that still pauses after its last attempt. */
const reconnectOptions = { "grpc.initial_reconnect_backoff_ms": 20, "grpc.max_reconnect_backoff_ms": 100 };

/** Plays the container orchestrator: calls a CSI driver on its unix socket. */
export class CsiClient {
  private readonly client: Client;

  constructor(readonly socketPath: string) {
    this.client = new Client(`unix:${socketPath}`, credentials.createInsecure(), reconnectOptions);
  }

  /** Calls one method of the generated services, for example `NodeService.nodeStageVolume`. */
  call<Request, Response>(
    { path, requestSerialize, responseDeserialize }: MethodDefinition<Request, Response>,
    request: Request,
    deadlineMs = defaultDeadlineMs,
  ): Promise<Response> {
    const options = { deadline: Date.now() + deadlineMs };
    return new Promise((resolve, reject) => {
      this.client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        request,
        new Metadata(),
        options,
        (error, response) => {
          if (error === null && response !== undefined) resolve(response);
          else reject(error ?? new Error(`${path} answered nothing`));
        },
      );
    });
  }

  /** Calls a method that answers by a stream, and gives all its messages. */
  async collect<Request, Response>(
    { path, requestSerialize, responseDeserialize }: MethodDefinition<Request, Response>,
    request: Request,
    deadlineMs = defaultDeadlineMs,
  ): Promise<Response[]> {
    const options = { deadline: Date.now() + deadlineMs };
    const metadata = new Metadata();
    const call = this.client.makeServerStreamRequest(
      path,
      requestSerialize,
      responseDeserialize,
      request,
      metadata,
      options,
    );
    const messages: Response[] = [];
    for await (const message of call) messages.push(message as Response);
    return messages;
  }

  close(): void {
    this.client.close();
  }
}
