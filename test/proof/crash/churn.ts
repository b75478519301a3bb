import { type ServiceError, status } from "@grpc/grpc-js";
import { BlockDeviceError, type BlockDeviceSpec, type BlockDevices } from "../../../src/engine/block-devices.js";
import { waitFor } from "../../vm/suites/support/wait-for.js";

/** An emulated processor takes minutes to start an engine, to adopt and to attach. */
const timeoutMs = 600_000;

/**
 * Attaches and detaches one volume in a loop. Its calls outlive the engine's processes, so a failure is one too many,
 * but that no engine lived long enough to answer: that is the killer's doing, and the call is made again.
 */
export class Churn {
  rounds = 0;
  private isStopping = false;
  private readonly ended: Promise<void>;

  constructor(
    private readonly devices: BlockDevices,
    private readonly spec: BlockDeviceSpec,
  ) {
    this.ended = this.run();
    this.ended.catch(() => undefined); // seen by stop
  }

  /** Waits until a round has been done that was not yet when this was called, and fails as the loop does. */
  async nextRound(): Promise<void> {
    const { rounds } = this;
    await Promise.race([waitFor("a device comes and goes", () => this.rounds > rounds, { timeoutMs }), this.ended]);
  }

  /** Once the last engine has come to stay: a whole round must succeed with it. */
  async stop(): Promise<void> {
    this.isStopping = true;
    await this.ended;
  }

  private async run(): Promise<void> {
    while (!this.isStopping) await this.round().catch((error: unknown) => this.forgiveKills(error));
    await this.round();
  }

  private async round(): Promise<void> {
    await this.devices.attach(this.spec);
    await this.devices.detach(this.spec.volumeId);
    this.rounds++;
  }

  private forgiveKills(error: unknown): void {
    const cause = error instanceof BlockDeviceError ? (error.cause as Partial<ServiceError> | undefined) : undefined;
    // An engine that lives and does not answer in time is another matter, and so is an answer that says no.
    if (cause?.code !== status.UNAVAILABLE && cause?.code !== status.CANCELLED) throw error;
  }
}
