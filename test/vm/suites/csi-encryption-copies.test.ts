import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { status } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { VolumeCapability_AccessMode_Mode as AccessMode, type VolumeContentSource } from "../../../src/gen/csi/csi.js";
import { createRandomFile, digest, writeToDevice } from "./support/device-io.js";
import { writeDurably } from "./support/durable-file.js";
import {
  encrypted,
  findDeviceIdBelow,
  mappingOf,
  passphrase,
  readSizeBytes,
  restage,
} from "./support/encrypted-volume.js";
import { checkFileSystem } from "./support/file-system.js";
import { readMachineState, waitUntilNothingIsLeft } from "./support/machine-state.js";
import { findMount } from "./support/mounts.js";
import { runCommand } from "./support/run-command.js";
import { byScale, onlyInFull } from "./support/scale.js";
import { SnapshotCalls } from "./support/snapshot-calls.js";
import { TestBed } from "./support/test-bed.js";
import type { TestVolume, VolumeWish } from "./support/test-volume.js";

const mebibyte = 1024 ** 2;
const ext4 = { kind: "mount", fsType: "ext4" } as const;
const block = { kind: "block" } as const;

type SourceKind = "volume" | "snapshot";
const sourceKinds: SourceKind[] = ["volume", "snapshot"];

let bed: TestBed;
let calls: SnapshotCalls;

beforeAll(async () => {
  bed = await TestBed.start("encryption-copies");
  calls = new SnapshotCalls(() => bed.driver.client);
});
afterAll(async () => await bed.dispose());

function volumeOf(name: string, change: Partial<VolumeWish> = {}): TestVolume {
  const wish = { name, sizeBytes: 32 * mebibyte, access: ext4, parameters: encrypted, secrets: { passphrase } };
  return bed.volume({ ...wish, ...change });
}

/** A volume made from another as it is now, or from a snapshot of it, which is gone then. */
async function copyOf(source: TestVolume, kind: SourceKind, change: Partial<VolumeWish> = {}): Promise<TestVolume> {
  const name = `${source.wish.name}-copy`;
  const make = async (type: VolumeContentSource["type"]) => {
    const copy = bed.volume({ ...source.wish, name, contentSource: { type }, ...change });
    await copy.create();
    return copy;
  };
  if (kind === "volume") return await make({ $case: "volume", value: { volumeId: source.id } });
  const { snapshotId } = await calls.createReady(name, source.id);
  const copy = await make({ $case: "snapshot", value: { snapshotId } });
  await calls.delete(snapshotId);
  return copy;
}

async function readTag(name: string, device: string): Promise<string> {
  return (await runCommand("blkid", ["-p", "-o", "value", "-s", name, device])).trim();
}

async function readHeader(volume: TestVolume) {
  const device = `/dev/ublkb${await findDeviceIdBelow(volume)}`;
  return { label: await readTag("LABEL", device), header: await readTag("UUID", device) };
}

/** What programs tell volumes apart by: the names in the header, and the uuid of the file system behind it. */
async function readIdentity(volume: TestVolume) {
  return { ...(await readHeader(volume)), fileSystem: await readTag("UUID", mappingOf(volume)) };
}

const readNote = (volume: TestVolume) => readFile(join(volume.targetPath, "note"), "utf8");
const writeNote = (volume: TestVolume, text: string) => writeDurably(join(volume.targetPath, "note"), text);

describe("a copy of an encrypted volume in use", () => {
  const copies: Array<{ fsType: string; kind: SourceKind; change: Partial<VolumeWish> }> = [
    { fsType: "ext4", kind: "snapshot", change: { parameters: { ...encrypted, pool: "memory" } } },
    { fsType: "xfs", kind: "snapshot", change: { sizeBytes: 320 * mebibyte } },
    { fsType: "xfs", kind: "volume", change: { sizeBytes: 320 * mebibyte } },
    { fsType: "btrfs", kind: "volume", change: { sizeBytes: 128 * mebibyte } },
  ];

  test.each(copies.slice(0, byScale({ full: copies.length, smoke: 1 })))(
    "$fsType, by way of a $kind: has its source's data beside it, with header and file system of its own for good",
    async ({ fsType, kind, change }) => {
      const before = await readMachineState();
      const source = volumeOf(`beside-${fsType}-${kind}`, { access: { kind: "mount", fsType }, ...change });
      await source.start();
      const data = await createRandomFile(join(source.targetPath, "data"), 4 * mebibyte);
      const written = await digest(data, 4 * mebibyte);
      await writeNote(source, "both");
      await runCommand("sync", ["-f", source.targetPath]);
      const copy = await copyOf(source, kind);
      await writeNote(source, "source");
      await copy.stage();
      await copy.publish();
      expect(await readNote(copy)).toBe("both");
      expect(await digest(join(copy.targetPath, "data"), 4 * mebibyte)).toBe(written);
      for (const volume of [source, copy]) expect(findMount(volume.targetPath)?.source).toBe(mappingOf(volume));

      const [ofSource, ofCopy] = [await readIdentity(source), await readIdentity(copy)];
      expect([ofSource.label, ofCopy.label]).toEqual([source.id, copy.id]);
      expect(ofCopy.header).not.toBe(ofSource.header);
      expect(ofCopy.fileSystem).not.toBe(ofSource.fileSystem);

      await writeNote(copy, "copy");
      for (const volume of [source, copy]) await restage(volume);
      expect([await readNote(source), await readNote(copy)]).toEqual(["source", "copy"]);
      expect([await readIdentity(source), await readIdentity(copy)]).toEqual([ofSource, ofCopy]);
      for (const volume of [source, copy]) await volume.finish();
      await waitUntilNothingIsLeft(before);
    },
  );
});

describe.each(sourceKinds)("by way of a %s", (kind) => {
  test("a larger copy of a source that is gone has its data and the larger size", async () => {
    const source = volumeOf(`larger-${kind}`);
    await source.start();
    await writeNote(source, "of the source");
    const copy = await copyOf(source, kind, { sizeBytes: 96 * mebibyte });
    await source.finish();
    await copy.stage();
    await copy.publish();
    expect(await readSizeBytes(mappingOf(copy))).toBe(96 * mebibyte);
    expect(await readNote(copy)).toBe("of the source");
    const [bytes] = (await copy.readStats()).usage;
    expect(Number(bytes?.total)).toBeGreaterThan(80 * mebibyte);
    const beyond = await createRandomFile(join(copy.targetPath, "beyond"), 40 * mebibyte);
    const written = await digest(beyond, 40 * mebibyte);
    await restage(copy);
    expect(await digest(beyond, 40 * mebibyte)).toBe(written);
    await copy.unpublish();
    await checkFileSystem(copy.stagingPath);
    await copy.unstage();
    await copy.delete();
  });

  test("a copy is refused to another passphrase than its source's, with nothing left of the attempts", async () => {
    const source = volumeOf(`wrong-${kind}`);
    await source.start();
    await writeNote(source, "of the source");
    const copy = await copyOf(source, kind);
    const before = await readMachineState();
    const refusals: Array<[Record<string, string>, RegExp]> = [
      [{ passphrase: "wrong-horse-battery-staple" }, /the passphrase given does not open/],
      [{}, /has no passphrase/],
    ];
    for (const [secrets, reason] of refusals) {
      copy.wish.secrets = secrets;
      const refused = { code: status.INVALID_ARGUMENT, details: expect.stringMatching(reason) };
      await expect(copy.stage()).rejects.toMatchObject(refused);
      await waitUntilNothingIsLeft(before);
    }
    expect(await readNote(source)).toBe("of the source");
    copy.wish.secrets = { passphrase };
    await copy.stage();
    await copy.publish();
    expect(await readNote(copy)).toBe("of the source");
    for (const volume of [copy, source]) await volume.finish();
  });
});

onlyInFull(() => {
  test("a raw copy that is only read from the beginning is read as it is, and nothing in it changes", async () => {
    const source = volumeOf("raw", { access: block });
    await source.start();
    const data = await createRandomFile(join(bed.directory, "raw"), mebibyte);
    await writeToDevice(data, source.targetPath, { direct: true });
    const copy = await copyOf(source, "snapshot", { accessMode: AccessMode.SINGLE_NODE_READER_ONLY });
    const image = await digest(bed.imagePath(copy), 48 * mebibyte);
    await copy.stage();
    await copy.publish({ readOnly: true });
    await runCommand("cmp", ["-n", `${mebibyte}`, data, copy.targetPath]);
    await expect(writeToDevice(data, copy.targetPath, { direct: true })).rejects.toThrow(/not permitted|Read-only/);
    await copy.unpublish();
    await copy.unstage();
    expect(await digest(bed.imagePath(copy), 48 * mebibyte)).toBe(image);
    // Whoever writes to it gets a header of the copy's own.
    copy.wish.accessMode = AccessMode.SINGLE_NODE_WRITER;
    await copy.stage();
    expect((await readHeader(copy)).label).toBe(copy.id);
    expect((await readHeader(copy)).header).not.toBe((await readHeader(source)).header);
    await runCommand("cmp", ["-n", `${mebibyte}`, data, mappingOf(copy)]);
    for (const volume of [copy, source]) await volume.finish();
  });
});
