import type { Volume, VolumeCapability } from "../../pools/volume/volume.js";
import type { MountEntry } from "../../system/mountinfo.js";
import { mebibyte, mountCapability, Workspace } from "../../testing/workspace.js";
import { VolumeStager } from "../volume-stager.js";

/** A stager over fakes, and one place to stage at. */
export class StagerRig {
  readonly stager: VolumeStager;

  private constructor(
    readonly workspace: Workspace,
    readonly stagingPath: string,
  ) {
    this.stager = new VolumeStager(workspace);
  }

  static async create(): Promise<StagerRig> {
    const workspace = await Workspace.create();
    return new StagerRig(workspace, await workspace.makeDirectory("targets", "staging"));
  }

  /** Creates the volume `data` of 2 MiB. */
  async createVolume(
    capability: VolumeCapability = mountCapability,
    parameters: Record<string, string> = {},
  ): Promise<Volume> {
    const range = { requiredBytes: 2n * mebibyte };
    return await this.workspace.provisioner.create({ name: "data", range, capabilities: [capability], parameters });
  }

  async stage({ id }: Volume, capability: VolumeCapability = mountCapability): Promise<void> {
    await this.stager.stage({ volumeId: id, stagingPath: this.stagingPath, capability, secrets: {} });
  }

  async unstage({ id }: Volume): Promise<void> {
    await this.stager.unstage(id, this.stagingPath);
  }
}

/** A mount of a disk that is not the driver's. */
export const foreignMount = (mountPoint: string): MountEntry => ({
  deviceNumber: "8:1",
  root: "/",
  mountPoint,
  options: ["rw"],
  fsType: "ext4",
  source: "/dev/sda1",
  superOptions: ["rw"],
});
