import { Server, ServerCredentials, type ServiceDefinition, type UntypedServiceImplementation } from "@grpc/grpc-js";
import { DriverError, toMessage } from "../errors.js";
import type { Logger } from "../log.js";
import { endsWithin } from "../system/within.js";
import { withTolerantDecoding } from "./decoding.js";
import { prepareSocketPath } from "./unix-socket.js";

/** A service of the generated code with its wrapped methods. */
export interface Service {
  definition: ServiceDefinition;
  implementation: UntypedServiceImplementation;
}

/** Serves gRPC on one unix socket which only this user may open. */
export class SocketServer {
  private readonly server = new Server();

  /** `prepare` makes room for the socket. */
  constructor(
    private readonly socketPath: string,
    services: readonly Service[],
    private readonly logger: Logger,
    private readonly prepare: (socketPath: string) => Promise<void> = prepareSocketPath,
  ) {
    for (const { definition, implementation } of services) {
      this.server.addService(withTolerantDecoding(definition), implementation);
    }
  }

  /** Binds the socket and serves from then on. */
  async start(): Promise<void> {
    await this.prepare(this.socketPath);
    // The mask rather than a chmod afterwards: there is no moment in which others could connect.
    const previousMask = process.umask(0o177);
    try {
      await this.bind();
    } finally {
      process.umask(previousMask);
    }
    this.logger.info({ socket: this.socketPath }, "serving");
  }

  /** Takes no new calls and lets the running ones end; after the deadline they are cut off. */
  async stop(deadlineMs: number): Promise<void> {
    if (await endsWithin(deadlineMs, this.drain())) return;
    this.logger.warn({ deadlineMs }, "calls still running at shutdown, cut off");
    this.server.forceShutdown();
  }

  private bind(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.server.bindAsync(`unix:${this.socketPath}`, ServerCredentials.createInsecure(), (error) => {
        if (error === null) return resolve();
        const message = `cannot listen on ${this.socketPath}: ${toMessage(error)}`;
        reject(new DriverError("refused", message, { cause: error }));
      });
    });
  }

  private drain(): Promise<void> {
    return new Promise((resolve) => this.server.tryShutdown(() => resolve()));
  }
}
