import { DriverError } from "../../errors.js";
import type { Volume } from "../../pools/volume/volume.js";
import type { NumberedDevice } from "./device-mounts.js";

/** What the node is given for one call and never keeps: names and values from the secrets of the request. */
export type Secrets = Readonly<Record<string, string>>;

/**
 * What lies between a volume's ublk device and its users, such as an encryption. Each verb is given the ublk device and
 * answers with the device that is formatted, mounted and published; for a volume with nothing in between that is the same.
 */
export interface DeviceMapping {
  /** Makes the mapping, or verifies the one that is there. Leaves none behind when it fails. */
  open(volume: Volume, device: NumberedDevice, secrets: Secrets): Promise<NumberedDevice>;
  /** The device that users have now, found without secrets; undefined when the mapping is not there. */
  find(device: NumberedDevice): Promise<NumberedDevice | undefined>;
  /** Gives users the size that the ublk device has grown to. */
  grow(volume: Volume, device: NumberedDevice, secrets: Secrets): Promise<void>;
  /** Takes the mapping away, also one whose device or volume is gone; none is a success. */
  close(volumeId: string): Promise<void>;
}

/** Users have the ublk device itself, which an encrypted volume must never be used by. */
export const noMapping: DeviceMapping = {
  open: async ({ id, parameters }, device) => {
    if (parameters.encryption === undefined) return device;
    throw new DriverError("refused", `volume ${id} is encrypted, and this node does without encryption`);
  },
  find: async (device) => device,
  grow: async () => undefined,
  close: async () => undefined,
};
