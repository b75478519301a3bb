import { basename } from "node:path";
import { DriverError } from "../../errors.js";
import type { Luks, LuksFormatRequest, LuksHeader, LuksOpenRequest } from "../encryption/luks.js";
import { luksCipher, luksKeyBits } from "../encryption/luks-metadata.js";
import type { MappedDevice, MappedDevices } from "../encryption/mapped-devices.js";
import type { FakeFilesystems } from "./fake-filesystems.js";

interface FakeHeader extends LuksHeader {
  /** Of the data. */
  cipher?: string;
  sectorSizeBytes: number;
  headerSizeBytes: bigint;
  passphrase: string;
}

/** Encrypted devices without a kernel: headers by path, and the mappings on them. */
export class FakeLuks implements Luks, MappedDevices {
  readonly headers = new Map<string, FakeHeader>();
  readonly mapped = new Map<string, MappedDevice>();
  readonly calls: string[] = [];
  /** When set, the next call fails with it, after its work was done. */
  failure: Error | undefined;
  sizeBytes = 0n;

  constructor(private readonly filesystems: FakeFilesystems) {}

  async find(name: string): Promise<MappedDevice | undefined> {
    return this.mapped.get(name);
  }

  async readHeader(devicePath: string): Promise<LuksHeader> {
    const header = this.headers.get(devicePath);
    return header ?? { version: "", uuid: "", label: "", subsystem: "" };
  }

  async readMetadata(devicePath: string): Promise<string> {
    const header = this.headers.get(devicePath);
    const { cipher = luksCipher, sectorSizeBytes, headerSizeBytes } = header ?? {};
    const key_size = luksKeyBits / 8;
    const area = { type: "raw", encryption: luksCipher, key_size };
    const place = { offset: `${headerSizeBytes}`, size: "dynamic", iv_tweak: "0", sector_size: sectorSizeBytes };
    return JSON.stringify({
      keyslots: { "0": { type: "luks2", key_size, area } },
      segments: { "0": { type: "crypt", encryption: cipher, ...place } },
      config: {},
    });
  }

  async format(devicePath: string, passphrase: Buffer, request: LuksFormatRequest): Promise<void> {
    const uuid = `uuid-${this.calls.length}`;
    const { label, sectorSizeBytes, headerSizeBytes } = request;
    const identity = { version: "2", uuid, label, subsystem: "ublk-csi" };
    this.headers.set(devicePath, { ...identity, sectorSizeBytes, headerSizeBytes, passphrase: `${passphrase}` });
    this.filesystems.contents.set(devicePath, "crypto_LUKS");
    this.enter("format");
  }

  async open(devicePath: string, passphrase: Buffer, { name }: LuksOpenRequest): Promise<void> {
    const header = this.headers.get(devicePath);
    if (header?.passphrase !== `${passphrase}`) throw new DriverError("invalid", "fake cryptsetup: wrong passphrase");
    const uuid = `CRYPT-LUKS2-${header.uuid.replaceAll("-", "")}-${name}`;
    const { sizeBytes } = this;
    this.mapped.set(name, { name, path: "/dev/dm-0", number: "253:0", sizeBytes, uuid, below: [basename(devicePath)] });
    this.enter("open");
  }

  async resize(name: string): Promise<void> {
    const mapped = this.mapped.get(name);
    if (mapped !== undefined) this.mapped.set(name, { ...mapped, sizeBytes: this.sizeBytes });
    this.enter("resize");
  }

  async close(name: string): Promise<void> {
    this.mapped.delete(name);
    this.enter("close");
  }

  async rename(devicePath: string, { label, uuid }: { label: string; uuid: string }): Promise<void> {
    const header = this.headers.get(devicePath);
    if (header !== undefined) this.headers.set(devicePath, { ...header, label, uuid });
    this.enter("rename");
  }

  private enter(verb: string): void {
    this.calls.push(verb);
    const { failure } = this;
    this.failure = undefined;
    if (failure !== undefined) throw failure;
  }
}
