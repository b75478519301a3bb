import { DriverError } from "../errors.js";
import type { FsType, Volume } from "../pools/volume.js";
import type { NumberedDevice } from "./device-mounts.js";
import type { NodeDependencies } from "./node-dependencies.js";

/** Makes the device of a volume ready to be mounted. The device must not be mounted anywhere. */
export class FilesystemPreparer {
  constructor(private readonly dependencies: NodeDependencies) {}

  /** Formats a blank device, and only a blank one, or one whose formatting a crash has cut short. */
  async prepare(volume: Volume, device: NumberedDevice, fsType: FsType): Promise<void> {
    const { filesystems, pools, logger } = this.dependencies;
    const mark = pools.poolOf(volume).formatMark(volume.id);
    const content = await filesystems.probe(device.path);
    if (await mark.isSet()) {
      logger.warn(
        { volumeId: volume.id, deviceId: device.deviceId, content },
        "formatting was cut short, starting over",
      );
      await filesystems.wipe(device.path);
    } else if (content === fsType) {
      return;
    } else if (content !== undefined) {
      const message = `${device.path} of volume ${volume.id} holds ${content}, asked for is ${fsType}: not formatted`;
      throw new DriverError("refused", message);
    }
    logger.info({ volumeId: volume.id, deviceId: device.deviceId, fsType }, "formatting a blank device");
    await mark.set();
    await filesystems.format(device.path, fsType, { discard: volume.parameters.provisioning === "thin" });
    await mark.clear();
  }
}
