import type { DeviceEvent } from "../../ublk/index.js";
import type { EngineLogger } from "../logger.js";

type IoError = Extract<DeviceEvent, { kind: "io-error" }>;

const quietMs = 1_000;

/** Logs the I/O errors of one device, at most one a second: a dead disk fails thousands of requests. */
export class IoErrorLog {
  private lastMs = Number.NEGATIVE_INFINITY;
  private suppressed = 0;

  constructor(
    private readonly logger: EngineLogger,
    private readonly fields: object,
    private readonly now: () => number = () => performance.now(),
  ) {}

  add({ operation, errnoName, offsetBytes, lengthBytes }: IoError): void {
    if (this.now() - this.lastMs < quietMs) {
      this.suppressed++;
      return;
    }
    const where = { operation, errnoName, offsetBytes: String(offsetBytes), lengthBytes };
    this.logger.error({ ...this.fields, ...where, suppressed: this.suppressed }, "the image failed a request");
    this.lastMs = this.now();
    this.suppressed = 0;
  }
}
