import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Registry } from "prom-client";
import { DriverError, toMessage } from "../errors.js";
import type { Logger } from "../log.js";

/** Where metrics are served. */
export interface MetricsEndpoint {
  /** An IP address. */
  host: string;
  port: number;
}

const path = "/metrics";
/** Of whoever scrapes; each is a socket and an answer in memory. */
const connectionCountMax = 16;
const requestMsMax = 10_000;

/** Serves what a registry holds over HTTP, at /metrics and nowhere else. */
export class MetricsServer {
  private readonly server: Server;

  constructor(
    private readonly endpoint: MetricsEndpoint,
    private readonly registry: Registry,
    private readonly logger: Logger,
  ) {
    const options = { requestTimeout: requestMsMax, headersTimeout: requestMsMax, connectionsCheckingInterval: 1_000 };
    this.server = createServer(options, (request, response) => void this.answer(request, response));
    this.server.maxConnections = connectionCountMax;
  }

  /** Fails, saying what is wrong, when the address cannot be had. */
  async start(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.server.once("error", (cause) => reject(toStartError(this.endpoint, cause)));
      this.server.listen(this.endpoint, () => resolve());
    });
    this.server.on("error", (err) => this.logger.error({ err }, "the metrics server failed"));
    this.logger.info({ endpoint: formatEndpoint(this.endpoint) }, "serving metrics");
  }

  /** Does not wait for scrapes that are under way. */
  async stop(): Promise<void> {
    const closed = new Promise((resolve) => this.server.close(resolve));
    this.server.closeAllConnections();
    await closed;
  }

  /** Where it serves; the port is the one in use when 0 was asked for. */
  get url(): string {
    const address = this.server.address();
    const port = typeof address === "object" && address !== null ? address.port : this.endpoint.port;
    return `${formatEndpoint({ ...this.endpoint, port })}${path}`;
  }

  private async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (request.url?.split("?", 1)[0] !== path) return respond(response, 404, `metrics are at ${path}\n`);
    if (request.method !== "GET" && request.method !== "HEAD") {
      response.setHeader("Allow", "GET, HEAD");
      return respond(response, 405, "metrics can only be read\n");
    }
    try {
      const text = await this.registry.metrics();
      response.setHeader("Content-Type", this.registry.contentType);
      respond(response, 200, text);
    } catch (err) {
      this.logger.error({ err }, "metrics cannot be read");
      respond(response, 500, "metrics cannot be read, the log of the driver says why\n");
    }
  }
}

/** For people: `http://127.0.0.1:9810`. */
export function formatEndpoint({ host, port }: MetricsEndpoint): string {
  return `http://${host.includes(":") ? `[${host}]` : host}:${port}`;
}

function respond(response: ServerResponse, statusCode: number, text: string): void {
  response.statusCode = statusCode;
  if (!response.hasHeader("Content-Type")) response.setHeader("Content-Type", "text/plain; charset=utf-8");
  response.end(text);
}

function toStartError(endpoint: MetricsEndpoint, cause: Error): DriverError {
  const message = `cannot serve metrics at ${formatEndpoint(endpoint)}: ${toMessage(cause)}`;
  return new DriverError("refused", `${message}: choose another --metrics-endpoint`, { cause });
}
