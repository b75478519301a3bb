import { DriverError } from "../errors.js";
import { type FsType, mayHaveTwin, type Volume } from "../pools/volume/volume.js";
import type { NumberedDevice } from "./mounts/device-mounts.js";
import type { NodeDependencies } from "./node-dependencies.js";

export interface PrepareRequest {
  fsType: FsType;
  /** An existing directory, for what has to be mounted for a moment where nobody sees it. */
  scratchPath: string;
}

/** Makes the device of a volume ready to be mounted. The device must not be mounted anywhere. */
export class FilesystemPreparer {
  constructor(private readonly dependencies: NodeDependencies) {}

  /** Repairs the file system, and gives one that is copied or imported its own identity; or makes one on a blank device. */
  async prepare(volume: Volume, device: NumberedDevice, request: PrepareRequest): Promise<void> {
    if (await this.isToBeFormatted(volume, device, request.fsType)) return await this.format(volume, device, request);
    // In a pool that is full a volume is of more use than what protects it from losses to come.
    await this.rememberFormatted(volume).catch((err: unknown) => {
      this.dependencies.logger.warn({ volumeId: volume.id, err }, "that the volume has a file system was not noted");
    });
    const tools = this.dependencies.filesystems.toolsOf(request.fsType);
    await tools.repair(device.path);
    await this.renewIdentity(volume, device, request);
  }

  /** Whether the device is blank, or has become so because a crash has cut formatting short; all else is somebody's data. */
  private async isToBeFormatted(volume: Volume, device: NumberedDevice, fsType: FsType): Promise<boolean> {
    const { filesystems, pools, logger } = this.dependencies;
    const content = await filesystems.probe(device.path);
    if (await pools.poolOf(volume).mark(volume.id, "formatting").isSet()) {
      const fields = { volumeId: volume.id, deviceId: device.deviceId, content };
      logger.warn(fields, "formatting was cut short, starting over");
      await filesystems.wipe(device.path);
      return true;
    }
    if (content === fsType) return false;
    const what = `${device.path} of volume ${volume.id}`;
    if (content !== undefined) {
      throw new DriverError("refused", `${what} holds ${content}, asked for is ${fsType}: not formatted`);
    }
    const formatted = pools.poolOf(volume).mark(volume.id, "formatted");
    if (!(await formatted.isSet())) return true;
    const advice = `restore its image from a backup, or remove ${formatted.path} to have a new one made`;
    throw new DriverError("refused", `${what} has lost its file system and was not formatted again: ${advice}`);
  }

  /** A file system that is there now and gone another day was lost, and is not made anew in silence. */
  private async rememberFormatted(volume: Volume): Promise<void> {
    const formatted = this.dependencies.pools.poolOf(volume).mark(volume.id, "formatted");
    if (!(await formatted.isSet())) await formatted.set();
  }

  private async format(volume: Volume, device: NumberedDevice, { fsType }: PrepareRequest): Promise<void> {
    const { filesystems, pools, logger } = this.dependencies;
    const mark = pools.poolOf(volume).mark(volume.id, "formatting");
    const { provisioning, format = {} } = volume.parameters;
    logger.info({ volumeId: volume.id, deviceId: device.deviceId, fsType }, "formatting a blank device");
    await mark.set();
    const request = { discard: provisioning === "thin", options: format };
    await filesystems.toolsOf(fsType).format(device.path, request);
    await this.rememberFormatted(volume);
    if (mayHaveTwin(volume)) await pools.poolOf(volume).mark(volume.id, "identity-renewed").set();
    await mark.clear();
  }

  /**
   * Source and copy, or an image that was imported twice, can be mounted at the same time only with different uuids. The mark is set when it has,
   * and before users see the file system: a crash in between only means one more uuid that nobody has seen.
   */
  private async renewIdentity(volume: Volume, device: NumberedDevice, request: PrepareRequest): Promise<void> {
    const { filesystems, pools, logger } = this.dependencies;
    if (!mayHaveTwin(volume)) return;
    const mark = pools.poolOf(volume).mark(volume.id, "identity-renewed");
    if (await mark.isSet()) return;
    const { fsType, scratchPath } = request;
    logger.info({ volumeId: volume.id, deviceId: device.deviceId, fsType }, "giving the file system a uuid of its own");
    await filesystems.toolsOf(fsType).renewIdentity(device.path, { scratchPath });
    await mark.set();
  }
}
