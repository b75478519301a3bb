import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { BlockDeviceError } from "../../engine/block-devices.js";
import { blockCapability, mebibyte, mountCapability, rejectionOf, Workspace } from "../../testing/workspace.js";
import type { MountCapability, VolumeCapability } from "../volume/volume.js";
import type { CreateRequest } from "./volume-provisioner.js";

let workspace: Workspace;

beforeEach(async () => {
  workspace = await Workspace.create();
});

afterEach(() => workspace.remove());

const request: CreateRequest = {
  name: "data",
  range: { requiredBytes: 2n * mebibyte },
  capabilities: [mountCapability, blockCapability],
  parameters: { "csi.storage.k8s.io/pvc/name": "data" },
};

describe("creating a volume again", () => {
  test("with the same request returns the same volume", async () => {
    const first = await workspace.provisioner.create(request);
    expect(await workspace.provisioner.create(request)).toEqual(first);
    expect(workspace.pools.listVolumes()).toHaveLength(1);
  });

  test("after a restart, with capabilities in another order, returns the same volume", async () => {
    const first = await workspace.provisioner.create(request);
    await workspace.reopen();
    const again = { ...request, capabilities: [...request.capabilities].reverse(), parameters: { pool: "disk" } };
    expect((await workspace.provisioner.create(again)).id).toBe(first.id);
  });

  test("without a pool returns the same volume when the node's first pool is another one by now", async () => {
    const first = await workspace.provisioner.create(request);
    await workspace.reopen([...workspace.poolRequests].reverse());
    expect((await workspace.provisioner.create(request)).id).toBe(first.id);
  });

  test.each<[string, Partial<CreateRequest>, string]>([
    ["size", { range: { requiredBytes: 3n * mebibyte } }, "other size (it has 2097152 bytes)"],
    ["limit", { range: { limitBytes: mebibyte } }, "other size"],
    ["parameters", { parameters: { provisioning: "thin" } }, "other parameters"],
    ["pool", { parameters: { pool: "memory" } }, "other parameters"],
    ["pool, of another node", { parameters: { pool: "gold" } }, "other parameters"],
    ["capabilities", { capabilities: [blockCapability] }, "other capabilities"],
    ["type", { capabilities: [{ ...mountCapability, fsType: "xfs" } as VolumeCapability] }, "other"],
  ])("with another %s is a conflict that names it", async (_case, change, text) => {
    await workspace.provisioner.create(request);
    const error = await rejectionOf(workspace.provisioner.create({ ...request, ...change }));
    expect(error).toMatchObject({ code: "conflict", message: expect.stringContaining(text) });
  });
});

describe("the file system type of a StorageClass", () => {
  const { fsType: _, ...untyped } = mountCapability as MountCapability;
  const create = (fsType: string, capability: VolumeCapability = untyped) => {
    const parameters = { "csi.storage.k8s.io/fstype": fsType };
    return workspace.provisioner.create({ ...request, range: undefined, capabilities: [capability], parameters });
  };

  test("is the volume's when the capability leaves it open", async () => {
    const parameters = { pool: "disk", provisioning: "thin", "csi.storage.k8s.io/fstype": "xfs" };
    const range = { requiredBytes: mebibyte };
    const volume = await workspace.provisioner.create({ name: "xfs", range, capabilities: [untyped], parameters });
    expect(volume.capabilities).toMatchObject([{ fsType: "xfs" }]);
    expect(volume.sizeBytes).toBe(300n * mebibyte);
  });

  test("that is unknown is refused with what is allowed", async () => {
    const message = 'parameter csi.storage.k8s.io/fstype is "ntfs", allowed is one of: ext4, xfs, btrfs';
    expect(await rejectionOf(create("ntfs"))).toMatchObject({ code: "invalid", message });
  });
});

test("a pool which the node lacks sends the caller to another node, with the pools that are here", async () => {
  const error = await rejectionOf(workspace.provisioner.create({ ...request, parameters: { pool: "gold" } }));
  expect(error).toMatchObject({
    code: "no_space",
    message: expect.stringContaining('this node has no pool "gold", its pools are: disk, memory'),
  });
});

test("a pool which the node lacks has no capacity", async () => {
  expect(await workspace.readAvailableBytes({ pool: "gold" })).toBe(0n);
});

describe("deleting a volume", () => {
  test("that is unknown is a success, whatever the id", async () => {
    for (const id of ["no-such-volume", "../disk", "Ünknown", "x".repeat(128)]) await workspace.provisioner.delete(id);
  });

  test("takes its idle device away first", async () => {
    const { id } = await workspace.provisioner.create(request);
    await workspace.provisioner.delete(id);
    expect(workspace.blockDevices.calls).toEqual([`detach ${id}`]);
    expect(workspace.pools.findVolumeByName("data")).toBeUndefined();
  });

  test("whose device is in use is refused and changes nothing", async () => {
    const { id } = await workspace.provisioner.create(request);
    workspace.blockDevices.detach = async () => {
      throw new BlockDeviceError("in_use", "/dev/ublkb0 is mounted");
    };
    const error = await rejectionOf(workspace.provisioner.delete(id));
    expect(error).toMatchObject({ code: "refused", message: /in use: unpublish and unstage it first .*is mounted/ });
    expect(workspace.pools.getVolume(id).name).toBe("data");
  });

  test("twice is a success", async () => {
    const { id } = await workspace.provisioner.create(request);
    await workspace.provisioner.delete(id);
    await workspace.provisioner.delete(id);
  });
});
