import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { mebibyte, mountCapability, rejectionOf, Workspace } from "../../testing/workspace.js";
import { parameterNames } from "../parameters/parameters.js";
import type { FsType, Volume, VolumeCapability } from "../volume/volume.js";
import { VolumeExpander } from "./volume-expander.js";
import { VolumeModifier } from "./volume-modifier.js";
import type { CreateRequest } from "./volume-provisioner.js";

let workspace: Workspace;

beforeEach(async () => {
  workspace = await Workspace.create();
});
afterEach(() => workspace.remove());

const create = (request: CreateRequest) => workspace.provisioner.create(request);

const request: CreateRequest = {
  name: "data",
  range: { requiredBytes: 2n * mebibyte },
  capabilities: [mountCapability],
  parameters: {},
};

describe("a volume asked for again with one parameter changed", () => {
  const luks = { encryption: "luks2" };
  const thin = { provisioning: "thin" };
  const stripes = { xfsStripeUnit: "4096", xfsStripeWidth: "2" };

  /** What the volume was made with, what is asked for later, and what goes with both. */
  type Case = [name: string, from: string | undefined, to: string, others?: Record<string, string>];
  const cases: Case[] = [
    ["pool", undefined, "memory"],
    ["provisioning", "thick", "thin"],
    ["logicalBlockSize", "512", "4096"],
    ["queues", "2", "3"],
    ["queueDepth", undefined, "32"],
    ["trimInterval", "1h", "2h", thin],
    ["trimAtUnstage", "true", "false", thin],
    ["encryption", undefined, "luks2"],
    ["encryptionDiscard", undefined, "true", luks],
    ["encryptionMemory", "32Mi", "64Mi", luks],
    ["ext4BlockSize", "1024", "4096"],
    ["ext4BytesPerInode", "4096", "8192"],
    ["ext4InodeSize", "256", "512", { ext4BlockSize: "4096" }],
    ["ext4ReservedPercent", undefined, "0"],
    ["ext4LazyInit", "true", "false"],
    ["xfsBlockSize", "2048", "4096", thin],
    ["xfsInodeSize", "512", "1024", thin],
    ["xfsReflink", undefined, "false", thin],
    ["xfsStripeUnit", "4096", "8192", { ...thin, ...stripes }],
    ["xfsStripeWidth", "2", "4", { ...thin, ...stripes }],
    ["btrfsNodeSize", "4096", "8192", thin],
    ["btrfsMetadata", "single", "dup", thin],
    ["btrfsChecksum", undefined, "sha256", thin],
    ["iops", "100", "200"],
    ["readIops", undefined, "100"],
    ["writeIops", "100", "unlimited"],
    ["bandwidth", "1Mi", "2Mi"],
    ["readBandwidth", "unlimited", "2Mi"],
    ["writeBandwidth", "1Mi", "2Mi"],
    ["burst", "1s", "2s"],
  ];

  test("is tried for every parameter that there is", () => {
    expect(cases.map(([name]) => name).sort()).toEqual([...parameterNames].sort());
  });

  // Taken as rest: where a row leaves out its last element, jest would give a parameter in its place a callback.
  test.each(cases)(
    "%s from %s to %s is a conflict that names it, also after a restart",
    async (...[name, from, to, others]) => {
      const fsType = (/^(xfs|btrfs)/.exec(name)?.[0] ?? "ext4") as FsType;
      const capabilities = [{ ...mountCapability, fsType } as VolumeCapability];
      const parameters = { ...others, ...(from === undefined ? {} : { [name]: from }) };
      const { id } = await create({ ...request, capabilities, parameters });
      const again = (change: Record<string, string>) =>
        create({ ...request, capabilities, parameters: { ...parameters, ...change } });
      for (let round = 0; round < 2; round++) {
        expect((await again({})).id).toBe(id);
        const message = expect.stringContaining(
          `volume "data" exists with other parameters (${name}): use another name`,
        );
        expect(await rejectionOf(again({ [name]: to }))).toMatchObject({ code: "conflict", message });
        await workspace.reopen();
      }
    },
  );
});

describe("a volume that has changed since it was made", () => {
  const limited = { ...request, range: { requiredBytes: 2n * mebibyte, limitBytes: 2n * mebibyte } };
  const withLimits = (iops: string) => ({ ...limited, mutableParameters: { iops } });

  const modify = ({ id }: Volume, iops: string) =>
    new VolumeModifier(workspace.pools, workspace.blockDevices).modify(id, { iops });
  const expand = ({ id }: Volume, requiredBytes: bigint) =>
    new VolumeExpander(workspace.pools, workspace.blockDevices).expand({
      ...{ volumeId: id, range: { requiredBytes }, capability: undefined },
    });

  test("is what the first request made: larger, with other limits, and after a restart", async () => {
    const volume = await create(withLimits("100"));
    await modify(volume, "200");
    await expand(volume, 3n * mebibyte);
    await modify(volume, "300");
    await expand(volume, 4n * mebibyte);
    for (let round = 0; round < 2; round++) {
      const again = await create(withLimits("100"));
      expect(again).toMatchObject({ id: volume.id, sizeBytes: 4n * mebibyte, limits: { iops: 300 } });
      await workspace.reopen();
    }
  });

  test("made without limits is what a request without any made", async () => {
    const volume = await create(limited);
    await modify(volume, "200");
    expect((await create(limited)).id).toBe(volume.id);
  });

  test("is also what a request asks for that it satisfies now", async () => {
    const volume = await create(limited);
    await modify(volume, "200");
    await expand(volume, 3n * mebibyte);
    const now = { ...withLimits("200"), range: { requiredBytes: 3n * mebibyte } };
    expect((await create(now)).id).toBe(volume.id);
  });

  test("is not what it never was", async () => {
    const volume = await create(withLimits("100"));
    await modify(volume, "200");
    await expand(volume, 3n * mebibyte);
    const range = { requiredBytes: 2n * mebibyte + 512n, limitBytes: 3n * mebibyte - 512n };
    const error = await rejectionOf(create({ ...withLimits("300"), range }));
    const message = /other size \(it has 3145728 bytes\), mutable parameters \(iops\): use/;
    expect(error).toMatchObject({ code: "conflict", message });
  });
});
