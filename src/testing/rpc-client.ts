import { Client, status as Code, credentials, type MethodDefinition, type ServiceError } from "@grpc/grpc-js";
import { ControllerService, GroupControllerService, IdentityService, NodeService } from "../gen/csi/csi.js";

/** One RPC's outcome as the caller sees it. */
export interface Outcome<Response> {
  code: string;
  message: string;
  /** Undefined after a failure. */
  response: Response | undefined;
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
    // An empty message, decoded, has every field that the caller leaves out.
    const complete = { ...requestDeserialize(Buffer.alloc(0)), ...request };
    const deadline = Date.now() + (options.deadlineMs ?? 20_000);
    return new Promise((resolve) => {
      const answer = (error: ServiceError | null, response?: Response) =>
        resolve({ code: Code[error?.code ?? Code.OK], message: error?.details ?? "", response });
      this.client.makeUnaryRequest(path, requestSerialize, responseDeserialize, complete, { deadline }, answer);
    });
  }

  close(): void {
    this.client.close();
  }
}

export const rpcs = { ...IdentityService, ...ControllerService, ...NodeService, ...GroupControllerService };
