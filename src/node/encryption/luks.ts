import { DriverError } from "../../errors.js";
import { CommandError, type RunCommand } from "../../system/command.js";
import { luksCipher, luksKeyBits } from "./luks-metadata.js";

/** What the header of an encrypted device says without a passphrase. */
export interface LuksHeader {
  version: string;
  uuid: string;
  /** Which volume the device is. */
  label: string;
  /** Whose device it is. */
  subsystem: string;
}

export interface LuksFormatRequest {
  label: string;
  sectorSizeBytes: 512 | 4096;
  headerSizeBytes: bigint;
  /** How much memory deriving the key from the passphrase takes, now and whenever the device is opened. */
  memoryBytes: number;
}

export interface LuksOpenRequest {
  name: string;
  readOnly: boolean;
  discard: boolean;
}

/** Encrypted devices by cryptsetup(8). Passphrases go to its standard input, and nowhere else. */
export interface Luks {
  /** The header of a device that blkid knows as encrypted. */
  readHeader(devicePath: string): Promise<LuksHeader>;
  /** How bytes and keys are encrypted, as JSON; `explainWeakness` reads it. */
  readMetadata(devicePath: string): Promise<string>;
  /** Writes a header with a new key on a blank device. */
  format(devicePath: string, passphrase: Buffer, request: LuksFormatRequest): Promise<void>;
  /** Makes `/dev/mapper/<name>`. A passphrase that does not open the device is `invalid`. */
  open(devicePath: string, passphrase: Buffer, request: LuksOpenRequest): Promise<void>;
  /** Gives the mapping all of its device. */
  resize(name: string, passphrase: Buffer): Promise<void>;
  /** Fails while somebody uses the mapping. */
  close(name: string): Promise<void>;
  /** Names a device anew and gives it a uuid of its own. */
  rename(devicePath: string, identity: { label: string; uuid: string }): Promise<void>;
}

export const luksSubsystem = "ublk-csi";

const derivationTimeoutMs = 5 * 60_000;
const kibibyte = 1024;
const sectorBytes = 512n;
const noPermissionExitCode = 2;

export class CryptsetupLuks implements Luks {
  constructor(private readonly runCommand: RunCommand) {}

  async readHeader(devicePath: string): Promise<LuksHeader> {
    const { stdout } = await this.runCommand("blkid", ["-p", "-o", "export", devicePath]);
    const values = new Map(stdout.split("\n").map((line) => line.split("=", 2) as [string, string | undefined]));
    const textOf = (name: string) => values.get(name) ?? "";
    return {
      version: textOf("VERSION"),
      uuid: textOf("UUID"),
      label: textOf("LABEL"),
      subsystem: textOf("SUBSYSTEM"),
    };
  }

  async readMetadata(devicePath: string): Promise<string> {
    return (await this.runCommand("cryptsetup", ["luksDump", "--dump-json-metadata", devicePath])).stdout;
  }

  async format(devicePath: string, passphrase: Buffer, request: LuksFormatRequest): Promise<void> {
    const { label, sectorSizeBytes, headerSizeBytes, memoryBytes } = request;
    const args = [
      ...["luksFormat", "--type", "luks2", "--batch-mode", "--key-file", "-"],
      ...["--cipher", luksCipher, "--key-size", `${luksKeyBits}`, "--sector-size", `${sectorSizeBytes}`],
      // No benchmark: the cost must not depend on what the node is doing at the moment. RFC 9106, section 4.
      ...["--pbkdf", "argon2id", "--pbkdf-memory", `${memoryBytes / kibibyte}`],
      ...["--pbkdf-force-iterations", "4", "--pbkdf-parallel", "4"],
      ...["--offset", `${headerSizeBytes / sectorBytes}`, "--label", label, "--subsystem", luksSubsystem],
      devicePath,
    ];
    await this.runCommand("cryptsetup", args, { input: passphrase, timeoutMs: derivationTimeoutMs });
  }

  async open(devicePath: string, passphrase: Buffer, { name, readOnly, discard }: LuksOpenRequest): Promise<void> {
    const options = [...(readOnly ? ["--readonly"] : []), ...(discard ? ["--allow-discards"] : [])];
    const args = ["open", "--type", "luks2", "--batch-mode", "--key-file", "-", ...options, devicePath, name];
    await this.runWithPassphrase(args, passphrase, devicePath);
  }

  async resize(name: string, passphrase: Buffer): Promise<void> {
    await this.runWithPassphrase(["resize", "--batch-mode", "--key-file", "-", name], passphrase, name);
  }

  async close(name: string): Promise<void> {
    await this.runCommand("cryptsetup", ["close", name]);
  }

  async rename(devicePath: string, { label, uuid }: { label: string; uuid: string }): Promise<void> {
    await this.runCommand("cryptsetup", ["luksUUID", "--batch-mode", "--uuid", uuid, devicePath]);
    await this.runCommand("cryptsetup", ["config", "--label", label, "--subsystem", luksSubsystem, devicePath]);
  }

  private async runWithPassphrase(args: readonly string[], passphrase: Buffer, what: string): Promise<void> {
    try {
      await this.runCommand("cryptsetup", args, { input: passphrase, timeoutMs: derivationTimeoutMs });
    } catch (cause) {
      if (!(cause instanceof CommandError && cause.exitCode === noPermissionExitCode)) throw cause;
      const message = `the passphrase given does not open ${what}: is it the one that the volume was made with?`;
      throw new DriverError("invalid", message, { cause });
    }
  }
}
