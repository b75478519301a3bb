import type { BlockDeviceSpec, BlockDevices } from "../../../src/engine/block-devices.js";

/** Attaches and detaches one volume in a loop. Its calls outlive the engine's processes, so any failure is one too many. */
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

  async stop(): Promise<void> {
    this.isStopping = true;
    await this.ended;
  }

  private async run(): Promise<void> {
    while (!this.isStopping) {
      await this.devices.attach(this.spec);
      await this.devices.detach(this.spec.volumeId);
      this.rounds++;
    }
  }
}
