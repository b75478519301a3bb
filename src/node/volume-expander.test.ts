import { afterEach, beforeEach, expect, test } from "@jest/globals";
import type { MountCapability, Volume, VolumeCapability } from "../pools/volume/volume.js";
import { blockCapability, mebibyte, mountCapability, rejectionOf, Workspace } from "../testing/workspace.js";
import { VolumeExpander } from "./volume-expander.js";
import { VolumePublisher } from "./volume-publisher.js";
import { VolumeStager } from "./volume-stager.js";

let workspace: Workspace;
let expander: VolumeExpander;
let stagingPath: string;
let volume: Volume;

beforeEach(async () => {
  workspace = await Workspace.create();
  expander = new VolumeExpander(workspace);
  stagingPath = await workspace.makeDirectory("targets", "staging");
});

afterEach(() => workspace.remove());

async function createStaged(capability: VolumeCapability = mountCapability): Promise<void> {
  const range = { requiredBytes: 2n * mebibyte };
  volume = await workspace.provisioner.create({ name: "data", range, capabilities: [capability], parameters: {} });
  await new VolumeStager(workspace).stage({ volumeId: volume.id, stagingPath, capability, secrets: {} });
  workspace.filesystems.calls.length = 0;
}

const expand = (volumePath = stagingPath, range = { requiredBytes: 4n * mebibyte }) =>
  expander.expand({ volumeId: volume.id, volumePath, range, secrets: {} });

/** As ControllerExpandVolume does, to a device that was not there at the time. */
function growRecord(): void {
  workspace.pools.getVolume(volume.id).sizeBytes = 4n * mebibyte;
}

test("device and file system grow to the volume's size, which is the answer, however often", async () => {
  await createStaged();
  growRecord();
  expect([await expand(), await expand()]).toEqual([4n * mebibyte, 4n * mebibyte]);
  expect((await workspace.blockDevices.find(volume.id))?.sizeBytes).toBe(4n * mebibyte);
  expect(workspace.filesystems.calls).toEqual(["grow ext4", "grow ext4"]);
});

test("a raw block volume grows at its target", async () => {
  await createStaged(blockCapability);
  const targetPath = workspace.path("targets", "device");
  const request = { volumeId: volume.id, stagingPath, targetPath, capability: blockCapability, readOnly: false };
  await new VolumePublisher(workspace).publish(request);
  growRecord();
  expect(await expand(targetPath)).toBe(4n * mebibyte);
  expect((await workspace.blockDevices.find(volume.id))?.sizeBytes).toBe(4n * mebibyte);
  expect(workspace.filesystems.calls).toEqual([]);
});

test("a file system that nobody may write keeps its size until somebody may", async () => {
  await createStaged({ ...mountCapability, accessMode: "SINGLE_NODE_READER_ONLY" } as MountCapability);
  growRecord();
  expect(await expand()).toBe(4n * mebibyte);
  expect(workspace.filesystems.calls).toEqual([]);
});

test("a size that the volume does not have is out of range, and nothing is done", async () => {
  await createStaged();
  const error = await rejectionOf(expand());
  expect(error).toMatchObject({ code: "out_of_range", message: /has 2097152 bytes.*ControllerExpandVolume first/ });
  expect(workspace.blockDevices.calls).not.toContain(`resize ${volume.id}`);
});

test("a path where the volume is not is missing", async () => {
  await createStaged();
  growRecord();
  expect(await rejectionOf(expand("/elsewhere"))).toMatchObject({ code: "missing", message: /not at \/elsewhere/ });
});

test("an unknown volume is missing, one that is not staged is refused", async () => {
  await createStaged();
  const unknown = { volumeId: "unknown", volumePath: "some/path", range: undefined, secrets: {} };
  expect(await rejectionOf(expander.expand(unknown))).toMatchObject({ code: "missing" });
  await new VolumeStager(workspace).unstage(volume.id, stagingPath);
  growRecord();
  expect(await rejectionOf(expand())).toMatchObject({ code: "refused", message: /not staged/ });
});

test("a file system that does not answer is unavailable, and does not grow", async () => {
  await createStaged();
  growRecord();
  workspace.mounter.silentPaths.add(stagingPath);
  expect(await rejectionOf(expand())).toMatchObject({ code: "unavailable", message: /has not answered/ });
  expect(workspace.filesystems.calls).toEqual([]);
});

test("a file system that was shut down is refused", async () => {
  await createStaged();
  growRecord();
  workspace.mounter.entries[0]?.superOptions.push("shutdown");
  expect(await rejectionOf(expand())).toMatchObject({
    code: "refused",
    message: /shut it down .*mounted anew and grows/,
  });
});
