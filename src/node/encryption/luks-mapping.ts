import { basename } from "node:path";
import { DriverError, toMessage } from "../../errors.js";
import { volumeSizeBytesOf } from "../../pools/volume/image-size.js";
import type { Volume } from "../../pools/volume/volume.js";
import { CommandError } from "../../system/command.js";
import type { DeviceMapping, Secrets } from "../mounts/device-mapping.js";
import type { NumberedDevice } from "../mounts/device-mounts.js";
import { toMappingName, toMappingPath } from "../mounts/mapping-name.js";
import { LuksOpener, type LuksParts } from "./luks-opener.js";
import type { MappedDevice } from "./mapped-devices.js";
import { readPassphrase } from "./passphrase.js";

/**
 * Puts a dm-crypt mapping between the device of an encrypted volume and its users; other volumes are left as they are. A
 * mapping that is there is used as far as kernel and header agree on it: it lies on this device, and by the header that the
 * device has. Callers serialise the verbs per volume.
 */
export class LuksMapping implements DeviceMapping {
  private readonly opener: LuksOpener;

  constructor(private readonly parts: LuksParts) {
    this.opener = new LuksOpener(parts);
  }

  async open(volume: Volume, device: NumberedDevice, secrets: Secrets): Promise<NumberedDevice> {
    if (volume.parameters.encryption === undefined) return device;
    const { mappedDevices, logger } = this.parts;
    const existing = await mappedDevices.find(toMappingName(volume.id));
    if (existing !== undefined) {
      if (await this.isSound(volume, device, existing)) return toUserDevice(device, existing);
      logger.warn({ volumeId: volume.id, mapping: existing.name }, "closing a mapping that was left behind");
      await this.close(volume.id);
    }
    const passphrase = readPassphrase(volume.id, secrets);
    try {
      await this.opener.open(volume, device, passphrase);
      return toUserDevice(device, await this.require(volume.id));
    } catch (error) {
      await this.close(volume.id).catch((err: unknown) =>
        logger.warn({ volumeId: volume.id, err }, "mapping of a failed staging not closed"),
      );
      throw error;
    }
  }

  async find(device: NumberedDevice): Promise<NumberedDevice | undefined> {
    const { pools, mappedDevices } = this.parts;
    if (pools.peekVolume(device.volumeId)?.parameters.encryption === undefined) return device;
    const mapped = await mappedDevices.find(toMappingName(device.volumeId));
    return mapped !== undefined && liesOn(mapped, device) ? toUserDevice(device, mapped) : undefined;
  }

  async grow(volume: Volume, device: NumberedDevice, secrets: Secrets): Promise<void> {
    if (volume.parameters.encryption === undefined) return;
    const sizeBytes = volumeSizeBytesOf(device.sizeBytes, volume.parameters);
    if ((await this.require(volume.id)).sizeBytes >= sizeBytes) return;
    await this.opener.resize(volume.id, readPassphrase(volume.id, secrets));
    const { name, sizeBytes: grownBytes } = await this.require(volume.id);
    if (grownBytes >= sizeBytes) return;
    throw new DriverError("internal", `${name} has ${grownBytes} bytes after growing, expected are ${sizeBytes}`);
  }

  async close(volumeId: string): Promise<void> {
    const { luks, mappedDevices } = this.parts;
    const name = toMappingName(volumeId);
    if ((await mappedDevices.find(name)) === undefined) return;
    try {
      await luks.close(name);
    } catch (cause) {
      if (!(cause instanceof CommandError) || (await mappedDevices.find(name)) === undefined) throw cause;
      const message = `volume ${volumeId} is in use: unpublish and unstage it first (${toMessage(cause)})`;
      throw new DriverError("refused", message, { cause });
    }
  }

  private async isSound(volume: Volume, device: NumberedDevice, mapped: MappedDevice): Promise<boolean> {
    if (!liesOn(mapped, device) || (await this.opener.markOf(volume, "encrypting").isSet())) return false;
    const { uuid } = await this.parts.luks.readHeader(device.path);
    return mapped.uuid === `CRYPT-LUKS2-${uuid.replaceAll("-", "")}-${mapped.name}`;
  }

  private async require(volumeId: string): Promise<MappedDevice> {
    const mapped = await this.parts.mappedDevices.find(toMappingName(volumeId));
    if (mapped !== undefined) return mapped;
    throw new DriverError("refused", `the mapping of encrypted volume ${volumeId} is gone: unstage and stage it again`);
  }
}

function liesOn({ below }: MappedDevice, device: NumberedDevice): boolean {
  return below.length === 1 && below[0] === basename(device.path);
}

function toUserDevice(device: NumberedDevice, { name, path, number, sizeBytes }: MappedDevice): NumberedDevice {
  return { ...device, path, number, sizeBytes, alias: toMappingPath(name) };
}
