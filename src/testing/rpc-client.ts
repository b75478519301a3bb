import {
  Client,
  type ClientReadableStream,
  status as Code,
  credentials,
  type MethodDefinition,
  type ServiceError,
} from "@grpc/grpc-js";
import {
  ControllerService,
  GroupControllerService,
  IdentityService,
  NodeService,
  SnapshotMetadataService,
} from "../gen/csi/csi.js";

/** One RPC's outcome as the caller sees it. */
export interface Outcome<Response> {
  code: string;
  message: string;
  /** Undefined after a failure. */
  response: Response | undefined;
}

/** One stream's outcome as the caller sees it. */
export interface StreamOutcome<Response> {
  code: string;
  message: string;
  responses: Response[];
}

type Method<Request, Response> = MethodDefinition<Request, Response>;

/** Calls any RPC of the generated code over a unix socket. */
export class RpcClient {
  private readonly client: Client;

  constructor(socketPath: string) {
    this.client = new Client(`unix:${socketPath}`, credentials.createInsecure());
  }

  call<Request, Response>(
    method: Method<Request, Response>,
    request: Partial<Request>,
    options: { deadlineMs?: number } = {},
  ): Promise<Outcome<Response>> {
    const { path, requestSerialize, requestDeserialize, responseDeserialize } = method;
    const complete = completed(requestDeserialize, request);
    const deadline = Date.now() + (options.deadlineMs ?? 20_000);
    return new Promise((resolve) => {
      const answer = (error: ServiceError | null, response?: Response) =>
        resolve({ code: Code[error?.code ?? Code.OK], message: error?.details ?? "", response });
      this.client.makeUnaryRequest(path, requestSerialize, responseDeserialize, complete, { deadline }, answer);
    });
  }

  /** Reads a stream to its end. */
  async read<Request, Response>(
    method: Method<Request, Response>,
    request: Partial<Request>,
    options: { deadlineMs?: number } = {},
  ): Promise<StreamOutcome<Response>> {
    const responses: Response[] = [];
    try {
      for await (const response of this.open(method, request, options)) responses.push(response as Response);
      return { code: "OK", message: "", responses };
    } catch (error) {
      const { code, details } = error as ServiceError;
      return { code: Code[code], message: details, responses };
    }
  }

  /** Begins to read a stream. */
  open<Request, Response>(
    method: Method<Request, Response>,
    request: Partial<Request>,
    options: { deadlineMs?: number } = {},
  ): ClientReadableStream<Response> {
    const { path, requestSerialize, requestDeserialize, responseDeserialize } = method;
    const deadline = Date.now() + (options.deadlineMs ?? 20_000);
    const complete = completed(requestDeserialize, request);
    return this.client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, complete, { deadline });
  }

  close(): void {
    this.client.close();
  }
}

/** An empty message, decoded, has every field that the caller leaves out. */
function completed<Request>(deserialize: (bytes: Buffer) => Request, request: Partial<Request>): Request {
  return { ...deserialize(Buffer.alloc(0)), ...request };
}

export const rpcs = {
  ...IdentityService,
  ...ControllerService,
  ...NodeService,
  ...GroupControllerService,
  ...SnapshotMetadataService,
};
