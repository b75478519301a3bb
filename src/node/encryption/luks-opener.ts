import { randomUUID } from "node:crypto";
import { DriverError } from "../../errors.js";
import type { Logger } from "../../log.js";
import type { Pools } from "../../pools/pool/pools.js";
import type { VolumeMark } from "../../pools/records/volume-mark.js";
import { headerSizeBytesOf } from "../../pools/volume/image-size.js";
import type { Volume } from "../../pools/volume/volume.js";
import { KeyedMutex } from "../../system/keyed-mutex.js";
import type { Filesystems } from "../filesystems/filesystems.js";
import type { NumberedDevice } from "../mounts/device-mounts.js";
import { toMappingName } from "../mounts/mapping-name.js";
import { type Luks, luksSubsystem } from "./luks.js";
import { explainWeakness } from "./luks-metadata.js";
import type { MappedDevices } from "./mapped-devices.js";

export interface LuksParts {
  pools: Pools;
  luks: Luks;
  mappedDevices: MappedDevices;
  filesystems: Pick<Filesystems, "probe" | "wipe">;
  /** Writes zeroes where programs look for what a device holds. */
  blankEnds: (devicePath: string, sizeBytes: bigint) => Promise<void>;
  logger: Logger;
}

const defaultMemoryBytes = 64 * 1024 ** 2;
const luksContent = "crypto_LUKS";

/**
 * Makes mappings of encrypted devices, and encrypts those that are blank. A device that holds anything else than this
 * volume's own header is refused.
 */
export class LuksOpener {
  /** Deriving a key takes much memory by intention, so that one is derived at a time. */
  private readonly derivations = new KeyedMutex();

  constructor(private readonly parts: LuksParts) {}

  async open(volume: Volume, device: NumberedDevice, passphrase: Buffer): Promise<void> {
    const { filesystems, logger } = this.parts;
    const content = await filesystems.probe(device.path);
    if (await this.markOf(volume, "encrypting").isSet()) {
      logger.warn({ volumeId: volume.id, content }, "encrypting was cut short, starting over");
      await filesystems.wipe(device.path);
      await this.encrypt(volume, device, passphrase);
    } else if (content === luksContent) {
      await this.bind(volume, device);
      await this.assertProtects(volume, device);
      await this.makeMapping(volume, device, passphrase);
    } else {
      await this.assertBlank(volume, device, content);
      await this.encrypt(volume, device, passphrase);
    }
  }

  /** Gives the mapping all of its device. */
  async resize(volumeId: string, passphrase: Buffer): Promise<void> {
    await this.derivations.run("key", () => this.parts.luks.resize(toMappingName(volumeId), passphrase));
  }

  /** Set while what is on the device is the unfinished work of this class. */
  markOf(volume: Volume, name: "encrypting" | "encrypted" | "header-bound"): VolumeMark {
    return this.parts.pools.poolOf(volume).mark(volume.id, name);
  }

  // A header that was there and is not any more is damage: making a new one would lose all the data behind it.
  private async assertBlank(volume: Volume, device: NumberedDevice, content: string | undefined): Promise<void> {
    const what = `${device.path} of encrypted volume ${volume.id}`;
    if (content !== undefined) throw refused(`${what} holds ${content}: not encrypted over it`);
    if (await this.markOf(volume, "encrypted").isSet()) {
      throw refused(`${what} has lost its LUKS header: restore the first 16 MiB of the image from a backup`);
    }
    if (device.readOnly) throw refused(`${what} is blank, and a read-only use cannot encrypt it`);
  }

  private async encrypt(volume: Volume, device: NumberedDevice, passphrase: Buffer): Promise<void> {
    const { luks, logger } = this.parts;
    const { logicalBlockSizeBytes, encryptionMemoryBytes = defaultMemoryBytes } = volume.parameters;
    const encrypting = this.markOf(volume, "encrypting");
    logger.info({ volumeId: volume.id, deviceId: device.deviceId }, "encrypting a blank device");
    await encrypting.set();
    const request = {
      label: volume.id,
      sectorSizeBytes: logicalBlockSizeBytes,
      headerSizeBytes: headerSizeBytesOf(volume.parameters),
      memoryBytes: encryptionMemoryBytes,
    };
    await this.derivations.run("key", () => luks.format(device.path, passphrase, request));
    await this.makeMapping(volume, device, passphrase);
    await this.blank(volume);
    await this.markOf(volume, "encrypted").set();
    await encrypting.clear();
  }

  // Zeroes read through a cipher are noise, which now and then looks like something that nobody has written.
  private async blank({ id }: Volume): Promise<void> {
    const mapped = await this.parts.mappedDevices.find(toMappingName(id));
    if (mapped === undefined) throw new DriverError("internal", `the mapping of volume ${id} is gone: stage it again`);
    await this.parts.blankEnds(mapped.path, mapped.sizeBytes);
  }

  /**
   * Refuses the image of another volume. A copy comes with its source's header, and is given its own once: by the first use
   * that may write, so that one which only reads finds the header as it is.
   */
  private async bind(volume: Volume, device: NumberedDevice): Promise<void> {
    const { luks } = this.parts;
    const { version, subsystem, label } = await luks.readHeader(device.path);
    if (version !== "2" || subsystem !== luksSubsystem) {
      throw foreign(volume, device, `LUKS version ${version}, subsystem "${subsystem}"`);
    }
    const bound = this.markOf(volume, "header-bound");
    const isUnbound = volume.contentSource !== undefined && !(await bound.isSet());
    if (label !== volume.id) {
      if (!isUnbound) throw foreign(volume, device, `volume "${label}"`);
      await this.markOf(volume, "encrypted").set();
      if (device.readOnly) return;
      await luks.rename(device.path, { label: volume.id, uuid: randomUUID() });
    }
    // Also when a crash has come between the header and its mark.
    if (isUnbound) await bound.set();
  }

  private async assertProtects({ id, parameters }: Volume, { path }: NumberedDevice): Promise<void> {
    const expected = {
      sectorSizeBytes: parameters.logicalBlockSizeBytes,
      headerSizeBytes: headerSizeBytesOf(parameters),
    };
    const weakness = explainWeakness(await this.parts.luks.readMetadata(path), expected);
    if (weakness === undefined) return;
    const message = `the LUKS header on ${path} of encrypted volume ${id} is not as this driver makes it (${weakness})`;
    throw refused(`${message}: somebody has changed it; restore the first 16 MiB of the image from a backup`);
  }

  private async makeMapping(volume: Volume, device: NumberedDevice, passphrase: Buffer): Promise<void> {
    const { encryptionDiscard = false } = volume.parameters;
    const request = { name: toMappingName(volume.id), readOnly: device.readOnly, discard: encryptionDiscard };
    await this.derivations.run("key", () => this.parts.luks.open(device.path, passphrase, request));
  }
}

function foreign({ id }: Volume, { path }: NumberedDevice, found: string): DriverError {
  return refused(`${path} of encrypted volume ${id} has the header of ${found}: is its image another volume's?`);
}

const refused = (message: string): DriverError => new DriverError("refused", message);
