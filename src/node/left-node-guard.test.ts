import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { BlockDeviceError } from "../engine/block-devices.js";
import type { Volume, VolumeCapability } from "../pools/volume/volume.js";
import { blockCapability, mebibyte, rejectionOf, type Workspace } from "../testing/workspace.js";
import { LuksMapping } from "./encryption/luks-mapping.js";
import { FakeLuks } from "./testing/fake-luks.js";
import { StagerRig } from "./testing/stager-rig.js";
import { VolumeDevices } from "./volume-devices.js";
import { VolumePublisher } from "./volume-publisher.js";

const sole: VolumeCapability = { ...blockCapability, accessMode: "SINGLE_NODE_SINGLE_WRITER" };

let rig: StagerRig;
let workspace: Workspace;
let targetPath: string;

beforeEach(async () => {
  rig = await StagerRig.create();
  workspace = rig.workspace;
  targetPath = workspace.path("targets", "pod");
});

afterEach(() => workspace.remove());

function publish({ id }: Volume, { target = targetPath, readOnly = false, capability = blockCapability } = {}) {
  const { stagingPath } = rig;
  const request = { volumeId: id, stagingPath, targetPath: target, capability, readOnly };
  return new VolumePublisher(workspace).publish(request);
}

const unpublish = () => new VolumePublisher(workspace).unpublish(targetPath);

/** A volume that a pod has, and whose device is gone from below it. */
async function createLeft(capability = blockCapability): Promise<Volume> {
  const volume = await rig.createVolume(capability);
  await rig.stage(volume, capability);
  await publish(volume, { capability });
  await loseDevice(volume);
  return volume;
}

async function loseDevice({ id }: Volume): Promise<void> {
  workspace.blockDevices.isInUse = () => false;
  await workspace.blockDevices.detach(id);
  workspace.mounter.deleteNode(targetPath);
}

async function createOther(parameters: Record<string, string> = {}): Promise<Volume> {
  const range = { requiredBytes: 2n * mebibyte };
  return await workspace.provisioner.create({ name: "other", range, capabilities: [blockCapability], parameters });
}

/** What the pod has is another node. */
function replaceNode(root: string): void {
  const entry = workspace.mounter.entries.pop();
  if (entry === undefined) throw new Error("the test expects a bound node");
  workspace.mounter.entries.push({ ...entry, root });
}

const attachCalls = () => workspace.blockDevices.calls.filter((call) => call.startsWith("attach"));

describe("a pod with the node of a device that is gone, whose number the volume's next device has,", () => {
  test("is the only one to have a volume of a single writer", async () => {
    const volume = await createLeft(sole);
    await rig.stage(volume, sole);
    const error = await rejectionOf(publish(volume, { target: `${targetPath}2`, capability: sole }));
    expect(error).toMatchObject({ code: "refused", message: expect.stringContaining(`published at ${targetPath},`) });
  });

  test("keeps the volume from being published with other access", async () => {
    const volume = await createLeft();
    await rig.stage(volume, blockCapability);
    const error = await rejectionOf(publish(volume, { target: `${targetPath}2`, readOnly: true }));
    expect(error).toMatchObject({ code: "refused", message: expect.stringContaining(`writable at ${targetPath}`) });
  });

  test("keeps the volume staged", async () => {
    const volume = await createLeft();
    await rig.stage(volume, blockCapability);
    const error = await rejectionOf(rig.unstage(volume));
    expect(error).toMatchObject({ code: "refused", message: expect.stringContaining(`published at ${targetPath}:`) });
    expect(await workspace.blockDevices.find(volume.id)).toBeDefined();
    await unpublish();
    await rig.unstage(volume);
    expect(await workspace.blockDevices.list()).toEqual([]);
  });

  test("gets the present node when it is published again, read-only if that is asked for", async () => {
    const volume = await createLeft();
    await rig.stage(volume, blockCapability);
    await publish(volume, { readOnly: true });
    expect(workspace.mounter.entries).toMatchObject([{ mountPoint: targetPath, root: "/ublkb0", options: ["ro"] }]);
  });

  test("keeps the node that it has open when it is published again", async () => {
    const volume = await createLeft();
    await rig.stage(volume, blockCapability);
    workspace.mounter.busyTargets.add(targetPath);
    await publish(volume);
    expect(workspace.mounter.entries).toMatchObject([{ mountPoint: targetPath, root: "/ublkb0//deleted" }]);
  });
});

describe("staging another volume beside a pod with the node of a device that is gone", () => {
  test("is refused when the number comes next, before there is a device", async () => {
    await createLeft();
    workspace.mounter.lostDevices.add("259:0");
    const other = await createOther();
    const calls = attachCalls();
    const message = `${targetPath} of a pod has the node of a device that is gone, and its number 259:0 would lead to volume ${other.id} now: stop that pod first`;
    expect(await rejectionOf(rig.stage(other, blockCapability))).toMatchObject({ code: "refused", message });
    expect(attachCalls()).toEqual(calls);
  });

  test("is refused when the number turns out to be the device's, which is taken back", async () => {
    await createLeft();
    const other = await createOther();
    const error = await rejectionOf(rig.stage(other, blockCapability));
    expect(error).toMatchObject({ code: "refused", message: expect.stringMatching(/259:0 .* stop that pod first$/) });
    expect(await workspace.blockDevices.list()).toEqual([]);
  });

  test("says that a device is there still which cannot be taken back, and takes it back later", async () => {
    await createLeft();
    const other = await createOther();
    workspace.blockDevices.isInUse = () => {
      throw new BlockDeviceError("unavailable", "the engine is busy");
    };
    const message = /stop that pod first\. .*ublkb0 could not be taken back: the engine is busy/;
    const open = () => workspace.devices.open(other, blockCapability, {});
    expect(await rejectionOf(open())).toMatchObject({ code: "refused", message: expect.stringMatching(message) });
    workspace.blockDevices.isInUse = () => false;
    expect(await rejectionOf(open())).toMatchObject({ code: "refused" });
    expect(await workspace.blockDevices.list()).toEqual([]);
  });

  test("is refused when its mapping has the number of another, and neither mapping nor device stays", async () => {
    await createLeft();
    replaceNode("/dm-0//deleted");
    const other = await createOther({ encryption: "luks2" });
    const luks = new FakeLuks(workspace.filesystems);
    luks.sizeBytes = 2n * mebibyte;
    const mapping = new LuksMapping({ ...workspace, luks, mappedDevices: luks, blankEnds: async () => undefined });
    const devices = new VolumeDevices({ ...workspace, mapping });
    const error = await rejectionOf(devices.open(other, blockCapability, { passphrase: "long enough" }));
    expect(error).toMatchObject({ code: "refused", message: expect.stringMatching(/253:0 .* stop that pod first$/) });
    expect(luks.calls).toEqual(["format", "open", "close"]);
    expect(await workspace.blockDevices.list()).toEqual([]);
  });

  test("is done when a lower number is free", async () => {
    await createLeft();
    replaceNode("/ublkb7//deleted");
    for (const number of ["259:0", "259:7"]) workspace.mounter.lostDevices.add(number);
    await rig.stage(await createOther(), blockCapability);
    expect(await workspace.blockDevices.list()).toHaveLength(1);
  });

  test("is done when it was of a mapping and the volume has none", async () => {
    await createLeft();
    replaceNode("/dm-0//deleted");
    workspace.mounter.lostDevices.add("253:0");
    await rig.stage(await createOther(), blockCapability);
    expect(await workspace.blockDevices.list()).toHaveLength(1);
  });

  test("is done once the pod is stopped", async () => {
    await createLeft();
    const other = await createOther();
    await rejectionOf(rig.stage(other, blockCapability));
    await unpublish();
    await rig.stage(other, blockCapability);
    expect(await workspace.blockDevices.list()).toMatchObject([{ volumeId: other.id }]);
  });

  test("is done when the volume itself was published there, also by a driver before this one", async () => {
    const volume = await createLeft();
    workspace.mounter.lostDevices.add("259:0");
    await workspace.reopen();
    await rig.stage(volume, blockCapability);
    expect(await workspace.blockDevices.list()).toMatchObject([{ volumeId: volume.id }]);
  });
});

test("a node whose path could not be noted, as in a full pool, is published; left behind, it is taken for another volume's", async () => {
  const volume = await rig.createVolume(blockCapability);
  await rig.stage(volume, blockCapability);
  // In the way of what the mark is prepared in.
  await workspace.makeDirectory("disk", "volumes", volume.id, "published-nodes.tmp");
  await publish(volume);
  await loseDevice(volume);
  expect(await rejectionOf(rig.stage(volume, blockCapability))).toMatchObject({ code: "refused" });
});
