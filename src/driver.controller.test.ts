import { randomUUID } from "node:crypto";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { VolumeCapability_AccessMode_Mode as Mode, type VolumeCapability as ProtoCapability } from "./gen/csi/csi.js";
import { accessMode, blockCapability, DriverRig, mount, mountCapability, range } from "./testing/driver-rig.js";
import { rpcs } from "./testing/rpc-client.js";
import { gibibyte, mebibyte } from "./testing/workspace.js";

let rig: DriverRig;

beforeEach(async () => {
  rig = await DriverRig.start();
});

afterEach(() => rig.remove());

describe("CreateVolume", () => {
  test("answers with id, exact size, topology and context", async () => {
    const volume = await rig.createVolume();
    expect(volume.capacityBytes).toBe(2n * mebibyte);
    expect(volume.volumeId).toMatch(/^[a-z0-9-]{36}$/);
    expect(volume.accessibleTopology).toEqual([{ segments: { "topology.csi.ublk.io/node": "node-a" } }]);
    expect(volume.volumeContext).toEqual({ pool: "disk", provisioning: "thick" });
  });

  test("takes a name of 128 bytes, and returns the same volume for the same name", async () => {
    const name = "ü".repeat(64);
    expect((await rig.createVolume(name)).volumeId).toBe((await rig.createVolume(name)).volumeId);
  });

  const good = { name: "bad", capacityRange: range, volumeCapabilities: [mountCapability] };
  const withMode = (mode: Mode): ProtoCapability => ({ ...mountCapability, accessMode: { mode } });
  const withMount = (change: Partial<typeof mount>): ProtoCapability => ({
    ...mountCapability,
    accessType: { $case: "mount", value: { ...mount, ...change } },
  });
  const elsewhere = { requisite: [{ segments: { "topology.csi.ublk.io/node": "node-b" } }], preferred: [] };

  test.each<[string, object, string, string]>([
    ["no name", { name: "" }, "INVALID_ARGUMENT", "name is required"],
    ["a name of 129 bytes in 65 characters", { name: `${"ü".repeat(64)}x` }, "INVALID_ARGUMENT", "name has 129 bytes"],
    ["a control character", { name: "a\u0000b" }, "INVALID_ARGUMENT", "control character U+0000"],
    ["no capabilities", { volumeCapabilities: [] }, "INVALID_ARGUMENT", "volume_capabilities is empty"],
    ["no access type", { volumeCapabilities: [{ accessMode }] }, "INVALID_ARGUMENT", "has no access_type"],
    ["no access mode", { volumeCapabilities: [withMode(Mode.UNKNOWN)] }, "INVALID_ARGUMENT", "has no access_mode"],
    [
      "an access mode for many nodes",
      { volumeCapabilities: [withMode(Mode.MULTI_NODE_MULTI_WRITER)] },
      "INVALID_ARGUMENT",
      "access mode MULTI_NODE_MULTI_WRITER is not supported",
    ],
    [
      "an unknown file system",
      { volumeCapabilities: [withMount({ fsType: "ntfs" })] },
      "INVALID_ARGUMENT",
      'file system type "ntfs" is not supported, allowed is one of: ext4, xfs, btrfs',
    ],
    [
      "a mount option hidden behind another",
      { volumeCapabilities: [withMount({ mountFlags: ["ro,loop"] })] },
      "INVALID_ARGUMENT",
      'mount option "loop" is not allowed for ext4: it would change what is mounted, leave it out',
    ],
    [
      "a mount group",
      { volumeCapabilities: [withMount({ volumeMountGroup: "staff" })] },
      "INVALID_ARGUMENT",
      "must be the number of a group",
    ],
    ["size 0", { capacityRange: { requiredBytes: 0n, limitBytes: 0n } }, "INVALID_ARGUMENT", "a size of 0 bytes"],
    ["a negative size", { capacityRange: { requiredBytes: -1n, limitBytes: 0n } }, "INVALID_ARGUMENT", "is -1"],
    [
      "a huge size",
      { capacityRange: { requiredBytes: 2n ** 63n - 1n, limitBytes: 0n } },
      "OUT_OF_RANGE",
      "the largest possible is 9007199221186560",
    ],
    [
      "a size beyond the pool",
      { capacityRange: { requiredBytes: 2n ** 52n, limitBytes: 0n } },
      "RESOURCE_EXHAUSTED",
      "4503599627370496 were asked for",
    ],
    [
      "no multiple of the block in the range",
      { capacityRange: { requiredBytes: 2097153n, limitBytes: 2097153n } },
      "OUT_OF_RANGE",
      "a multiple of the logical block of 512",
    ],
    ["an unknown parameter", { parameters: { raid: "5" } }, "INVALID_ARGUMENT", 'parameter "raid" is unknown'],
    ["a pool of another node", { parameters: { pool: "gold" } }, "RESOURCE_EXHAUSTED", 'this node has no pool "gold"'],
    ["no name of a pool", { parameters: { pool: "Gold" } }, "INVALID_ARGUMENT", 'parameter pool is "Gold"'],
    ["parameters of 5000 bytes", { parameters: { pool: "x".repeat(5000) } }, "INVALID_ARGUMENT", "parameters has 5004"],
    ["an unknown mutable parameter", { mutableParameters: { a: "1" } }, "INVALID_ARGUMENT", 'mutable parameter "a"'],
    ["a limit out of bounds", { mutableParameters: { iops: "1" } }, "INVALID_ARGUMENT", "operations from 10 to"],
    [
      "a source that does not exist",
      { volumeContentSource: { type: { $case: "volume", value: { volumeId: "x" } } } },
      "NOT_FOUND",
      'volume "x" does not exist on this node',
    ],
    [
      "a source that another node may have",
      { volumeContentSource: { type: { $case: "snapshot", value: { snapshotId: randomUUID() } } } },
      "RESOURCE_EXHAUSTED",
      "is not on this node: it lives on another one, or was deleted",
    ],
    ["a source without type", { volumeContentSource: {} }, "INVALID_ARGUMENT", "volume_content_source has no type"],
    ["another node", { accessibilityRequirements: elsewhere }, "RESOURCE_EXHAUSTED", "no requisite topology is this"],
  ])("refuses %s and makes nothing", async (_case, change, code, text) => {
    const outcome = await rig.client.call(rpcs.createVolume, { ...good, ...change });
    expect(outcome).toMatchObject({ code, message: expect.stringContaining(text) });
    expect(outcome.message).not.toContain("\n");
    expect((await rig.client.call(rpcs.listVolumes, {})).response?.entries).toEqual([]);
  });

  test("refuses the same name with another size", async () => {
    await rig.createVolume();
    const capacityRange = { requiredBytes: gibibyte, limitBytes: 0n };
    const request = { name: "data", capacityRange, volumeCapabilities: [mountCapability] };
    expect((await rig.client.call(rpcs.createVolume, request)).code).toBe("ALREADY_EXISTS");
  });

  test("twice at the same time makes one volume", async () => {
    const [left, right] = await Promise.all([rig.createVolume(), rig.createVolume()]);
    expect(left.volumeId).toBe(right.volumeId);
    expect((await rig.client.call(rpcs.listVolumes, {})).response?.entries).toHaveLength(1);
  });
});

describe("ValidateVolumeCapabilities", () => {
  test("confirms what the volume was made for, and explains what it does not have", async () => {
    const { volumeId } = await rig.createVolume();
    const ask = (capability: ProtoCapability) =>
      rig.client.call(rpcs.validateVolumeCapabilities, { volumeId, volumeCapabilities: [capability] });
    expect((await ask(mountCapability)).response?.confirmed?.volumeCapabilities).toEqual([mountCapability]);
    const block = (await ask(blockCapability)).response;
    expect(block?.confirmed).toBeUndefined();
    expect(block?.message).toMatch(/was made for a file system of type ext4, not for block access/);
    const many = (await ask({ ...mountCapability, accessMode: { mode: Mode.MULTI_NODE_READER_ONLY } })).response;
    expect(many).toMatchObject({ confirmed: undefined, message: expect.stringContaining("MULTI_NODE_READER_ONLY") });
  });

  describe("compares what else it is told with the volume", () => {
    const ofClass = { pool: "disk", provisioning: "thin", iops: "500", "csi.storage.k8s.io/pvc/name": "data" };
    const context = { pool: "disk", provisioning: "thin" };

    async function validate(claims: object) {
      const volumeCapabilities = [mountCapability];
      const request = { name: "data", capacityRange: range, volumeCapabilities, parameters: ofClass };
      const { volume } = await rig.call(rpcs.createVolume, { ...request, mutableParameters: { bandwidth: "10Mi" } });
      const volumeId = volume?.volumeId ?? "";
      return await rig.call(rpcs.validateVolumeCapabilities, { volumeId, volumeCapabilities, ...claims });
    }

    test.each<[string, object]>([
      ["volume_context", { volumeContext: context }],
      ["parameters", { parameters: ofClass }],
      ["parameters without what is information or the default", { parameters: { provisioning: "thin", iops: "500" } }],
      ["mutable_parameters", { mutableParameters: { bandwidth: "10Mi" } }],
      ["mutable_parameters that repeat the StorageClass", { mutableParameters: { iops: "500", bandwidth: "10Mi" } }],
      ["all of them", { volumeContext: context, parameters: ofClass, mutableParameters: { bandwidth: "10Mi" } }],
    ])("and confirms %s", async (_case, claims) => {
      const { confirmed, message } = await validate(claims);
      expect(message).toBe("");
      expect(confirmed).toMatchObject(claims);
    });

    test.each<[string, object, string]>([
      ["pool of the context", { volumeContext: { ...context, pool: "nowhere" } }, "another volume_context: pool"],
      ["key of the context", { volumeContext: { ...context, foo: "bar" } }, "another volume_context: foo"],
      ["context without a key", { volumeContext: { pool: "disk" } }, "another volume_context: provisioning"],
      ["pool", { parameters: { ...ofClass, pool: "nowhere" } }, "another value of parameter pool"],
      ["parameter", { parameters: { ...ofClass, foo: "bar" } }, 'parameter "foo" is unknown'],
      ["values", { parameters: { pool: "disk" } }, "another value of parameter iops, parameter provisioning"],
      ["type", { parameters: { ...ofClass, "csi.storage.k8s.io/fstype": "ntfs" } }, '"ntfs", allowed is one of'],
      ["limit", { mutableParameters: { bandwidth: "11Mi" } }, "another value of mutable parameter bandwidth"],
      [
        "limit that the volume lacks",
        { mutableParameters: { burst: "1s" } },
        "parameter bandwidth, mutable parameter burst",
      ],
      ["mutable parameter", { mutableParameters: { foo: "1" } }, 'mutable parameter "foo" is unknown'],
    ])("and says that it has another %s", async (_case, claims, text) => {
      expect(await validate(claims)).toMatchObject({ confirmed: undefined, message: expect.stringContaining(text) });
    });
  });

  test("needs capabilities", async () => {
    const { volumeId } = await rig.createVolume();
    expect((await rig.client.call(rpcs.validateVolumeCapabilities, { volumeId })).code).toBe("INVALID_ARGUMENT");
  });
});

describe("ListVolumes", () => {
  test("pages through all volumes, even when the one named by the token is deleted", async () => {
    const ids = [await rig.createVolume("a"), await rig.createVolume("b"), await rig.createVolume("c")].map(
      (volume) => volume.volumeId,
    );
    const first = (await rig.client.call(rpcs.listVolumes, { maxEntries: 2 })).response;
    const firstIds = first?.entries.map((entry) => entry.volume?.volumeId) ?? [];
    await rig.client.call(rpcs.deleteVolume, { volumeId: firstIds[1] ?? "" });
    const second = (await rig.client.call(rpcs.listVolumes, { startingToken: first?.nextToken ?? "" })).response;
    const secondIds = second?.entries.map((entry) => entry.volume?.volumeId);
    expect([...firstIds, ...(secondIds ?? [])].sort()).toEqual(ids.sort());
    expect(second?.nextToken).toBe("");
  });

  test.each([
    ["made up", "invalid-token"],
    ["not an id", "after:../.."],
  ])("a token %s is ABORTED", async (_case, token) => {
    expect((await rig.client.call(rpcs.listVolumes, { startingToken: token })).code).toBe("ABORTED");
  });

  test("a negative number of entries is invalid", async () => {
    expect((await rig.client.call(rpcs.listVolumes, { maxEntries: -1 })).code).toBe("INVALID_ARGUMENT");
  });
});

describe("ControllerExpandVolume", () => {
  const expand = (volumeId: string, requiredBytes: bigint, limitBytes = 0n) =>
    rig.client.call(rpcs.controllerExpandVolume, { volumeId, capacityRange: { requiredBytes, limitBytes } });

  test("answers the exact size, and asks the node for the file system's part", async () => {
    const { volumeId } = await rig.createVolume();
    const answer = { capacityBytes: 3n * mebibyte, nodeExpansionRequired: true };
    expect((await expand(volumeId, 3n * mebibyte)).response).toEqual(answer);
    expect((await rig.client.call(rpcs.controllerGetVolume, { volumeId })).response?.volume?.capacityBytes).toBe(
      3n * mebibyte,
    );
  });

  test("refuses what makes no sense with the specification's codes", async () => {
    const { volumeId } = await rig.createVolume();
    const codes = [
      await rig.client.call(rpcs.controllerExpandVolume, { volumeId }),
      await expand("", mebibyte),
      await expand("none", mebibyte),
      await expand(volumeId, 0n, mebibyte),
      await expand(volumeId, 2n ** 52n),
    ].map(({ code }) => code);
    expect(codes).toEqual(["INVALID_ARGUMENT", "INVALID_ARGUMENT", "NOT_FOUND", "OUT_OF_RANGE", "RESOURCE_EXHAUSTED"]);
  });

  test("is offered offline only where the kernel cannot grow devices in use, and then refuses those", async () => {
    rig.workspace.blockDevices.onlineResize = false;
    const { response } = await rig.client.call(rpcs.getPluginCapabilities, {});
    expect(response?.capabilities.at(-1)?.type).toMatchObject({ $case: "volumeExpansion", value: { type: 2 } });
    const { volumeId } = await rig.createVolume();
    const stagingTargetPath = await rig.workspace.makeDirectory("targets", "staging");
    await rig.client.call(rpcs.nodeStageVolume, { volumeId, stagingTargetPath, volumeCapability: mountCapability });
    expect((await expand(volumeId, 3n * mebibyte)).code).toBe("FAILED_PRECONDITION");
  });
});

describe("ControllerModifyVolume", () => {
  const modify = (volumeId: string, mutableParameters: Record<string, string>) =>
    rig.client.call(rpcs.controllerModifyVolume, { volumeId, mutableParameters });

  test("gives limits to the device of a volume in use, and is a success when it is repeated", async () => {
    const { volumeId } = await rig.createVolume();
    const stagingTargetPath = await rig.workspace.makeDirectory("targets", "staging");
    await rig.client.call(rpcs.nodeStageVolume, { volumeId, stagingTargetPath, volumeCapability: mountCapability });
    for (let round = 0; round < 2; round++) {
      expect((await modify(volumeId, { iops: "500", bandwidth: "10Mi" })).code).toBe("OK");
    }
    expect(rig.workspace.blockDevices.limits.get(volumeId)).toEqual({ iops: 500, bytesPerSecond: 10 * 1024 ** 2 });
  });

  test("refuses what makes no sense", async () => {
    const { volumeId } = await rig.createVolume();
    const codes = [
      await modify("", { iops: "500" }),
      await modify("none", { iops: "500" }),
      await modify(volumeId, {}),
      await modify(volumeId, { colour: "red" }),
      await modify(volumeId, { iops: "-1" }),
    ].map(({ code }) => code);
    expect(codes).toEqual(["INVALID_ARGUMENT", "NOT_FOUND", ...Array(3).fill("INVALID_ARGUMENT")]);
  });

  test("what was chosen at creation is part of the request", async () => {
    const request = { name: "data", volumeCapabilities: [mountCapability], mutableParameters: { iops: "500" } };
    expect((await rig.client.call(rpcs.createVolume, request)).code).toBe("OK");
    expect((await rig.client.call(rpcs.createVolume, request)).code).toBe("OK");
    const other = { ...request, mutableParameters: { iops: "600" } };
    expect((await rig.client.call(rpcs.createVolume, other)).code).toBe("ALREADY_EXISTS");
  });
});

describe("ControllerGetVolume", () => {
  test("answers what CreateVolume answered, published to no node by the controller", async () => {
    const volume = await rig.createVolume();
    const { response } = await rig.client.call(rpcs.controllerGetVolume, { volumeId: volume.volumeId });
    expect(response).toEqual({ volume, status: { publishedNodeIds: [] } });
  });

  test.each([
    ["", "INVALID_ARGUMENT"],
    ["none", "NOT_FOUND"],
  ])("of the volume %j is %s", async (volumeId, code) => {
    expect((await rig.client.call(rpcs.controllerGetVolume, { volumeId })).code).toBe(code);
  });
});

describe("GetCapacity", () => {
  const capacityOf = async (request: object) =>
    (await rig.client.call(rpcs.getCapacity, request)).response?.availableCapacity;

  test("is the pool's, with the same maximum for one volume", async () => {
    const { response } = await rig.client.call(rpcs.getCapacity, { parameters: { pool: "memory" } });
    expect(response).toMatchObject({ availableCapacity: 64n * mebibyte, maximumVolumeSize: 64n * mebibyte });
    expect(response?.minimumVolumeSize).toBe(mebibyte);
  });

  test("is 0 on another node and in a pool that this node lacks", async () => {
    const accessibleTopology = { segments: { "topology.csi.ublk.io/node": "node-b" } };
    expect(await capacityOf({ accessibleTopology, parameters: { pool: "memory" } })).toBe(0n);
    expect(await capacityOf({ parameters: { pool: "gold" } })).toBe(0n);
  });

  const mountOf = (fsType: string, ...mountFlags: string[]): ProtoCapability => ({
    ...mountCapability,
    accessType: { $case: "mount", value: { ...mount, fsType, mountFlags } },
  });
  const ofClass = (fsType: string) => ({ provisioning: "thin", "csi.storage.k8s.io/fstype": fsType });

  test.each<[string, ProtoCapability[], string, bigint]>([
    ["raw block", [blockCapability], "xfs", mebibyte],
    ["xfs by its capability", [mountOf("xfs")], "ext4", 300n * mebibyte],
    ["xfs by the StorageClass alone", [], "xfs", 300n * mebibyte],
    ["btrfs by the StorageClass", [mountOf("")], "btrfs", 109n * mebibyte],
  ])("has as its minimum what CreateVolume gives at least: %s", async (_case, volumeCapabilities, fsType, bytes) => {
    const request = { volumeCapabilities, parameters: ofClass(fsType) };
    expect((await rig.call(rpcs.getCapacity, request)).minimumVolumeSize).toBe(bytes);
    const capacityRange = { requiredBytes: 1n, limitBytes: 0n };
    const used = volumeCapabilities.length === 0 ? [mountOf("")] : volumeCapabilities;
    const { volume } = await rig.call(rpcs.createVolume, {
      ...request,
      ...{ name: "small", capacityRange, volumeCapabilities: used },
    });
    expect(volume?.capacityBytes).toBe(bytes);
  });

  test.each<[string, object]>([
    ["provisioning", { parameters: { provisioning: "fat" } }],
    ["type in the StorageClass", { parameters: ofClass("ntfs") }],
    ["type in a capability", { volumeCapabilities: [mountOf("ntfs")] }],
    ["mkfs option", { parameters: { xfsBlockSize: "4096" } }],
    ["mount option", { volumeCapabilities: [mountOf("", "compress")] }],
  ])("refuses a %s which CreateVolume refuses", async (_case, change) => {
    const request = { name: "bad", volumeCapabilities: [mountCapability], ...change };
    expect((await rig.client.call(rpcs.createVolume, request)).code).toBe("INVALID_ARGUMENT");
    expect((await rig.client.call(rpcs.getCapacity, request)).code).toBe("INVALID_ARGUMENT");
  });
});
