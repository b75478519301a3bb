import { readdir } from "node:fs/promises";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { BlockDeviceError } from "../../engine/block-devices.js";
import type { FileExtent } from "../../system/image-files.js";
import { blockCapability, mebibyte, rejectionOf, Workspace } from "../../testing/workspace.js";
import type { Volume } from "../volume/volume.js";
import { BlockSharing, sharedExtentsMax, shareMsMax } from "./block-sharing.js";
import type { Replica } from "./replica.js";

const sizeBytes = 2n * mebibyte;

let workspace: Workspace;
let replicas: Replica[];
let nowMs: number;

beforeEach(async () => {
  workspace = await Workspace.create();
  await workspace.makeDirectory("disk", "made");
  nowMs = 0;
  replicas = [await createReplica("a"), await createReplica("b"), await createReplica("c")];
});

afterEach(() => workspace.remove());

/** A volume with a device, and where its clone will be. */
async function createReplica(name: string): Promise<Replica> {
  const range = { requiredBytes: sizeBytes };
  const capabilities = [blockCapability];
  const volume = await workspace.provisioner.create({ name, range, capabilities, parameters: {} });
  await attach(volume);
  const pool = workspace.pools.poolOf(volume);
  const source = { id: volume.id, pool, path: pool.imagePath(volume.id), sizeBytes };
  return { source, id: `${name}-clone`, targetPath: workspace.path("disk", "made", name), targetPool: pool };
}

async function attach(volume: Volume): Promise<void> {
  const image = { kind: "file", path: workspace.pools.poolOf(volume).imagePath(volume.id) } as const;
  const spec = { volumeId: volume.id, image, sizeBytes, readOnly: false, logicalBlockSizeBytes: 512, discard: false };
  await workspace.blockDevices.attach(spec);
}

const share = () => new BlockSharing({ ...workspace, now: () => nowMs }).share(replicas);
const made = () => readdir(workspace.path("disk", "made"));
const callsOf = (verb: string) => workspace.blockDevices.calls.filter((call) => call.startsWith(verb));

/** Has each clone take so long, and fail as the test says. */
function cloneAs(clone: (index: number) => Promise<"cloned" | "unsupported"> | undefined, ms = 0): void {
  const original = workspace.imageFiles.clone.bind(workspace.imageFiles);
  workspace.imageFiles.clone = async (sourcePath, targetPath) => {
    nowMs += ms;
    const index = replicas.findIndex((replica) => replica.targetPath === targetPath);
    return (index < 0 ? undefined : clone(index)) ?? (await original(sourcePath, targetPath));
  };
}

/** Has the image of a volume lie in so many places. */
function fragment({ source }: Replica, count: number): void {
  const extents = Array.from({ length: count }, (_, index): FileExtent => {
    const offsetBytes = BigInt(index) * 8192n;
    const place = { logicalBytes: offsetBytes, physicalBytes: offsetBytes, lengthBytes: 4096n };
    return { ...place, isShared: false, isUnwritten: false, isPlaced: true };
  });
  workspace.imageFiles.pageEntriesMax = count;
  workspace.imageFiles.extents.set(source.path, extents);
}

test("images that are cloned in time are of one instant, at which all their devices stood still", async () => {
  expect(await share()).toBeInstanceOf(Date);
  expect(await made()).toEqual(["a", "b", "c"]);
  expect([callsOf("freeze").length, callsOf("thaw").length]).toEqual([3, 3]);
});

test("no further clone is begun once the time is over, and those that were made are gone", async () => {
  const begun: number[] = [];
  cloneAs((index) => {
    begun.push(index);
    return undefined;
  }, shareMsMax / 2);
  expect(await share()).toBeUndefined();
  expect(begun).toEqual([0, 1]);
  expect(await made()).toEqual([]);
  expect(callsOf("thaw")).toHaveLength(3);
});

test("without a device they may take as long as they take", async () => {
  for (const { source } of replicas) await workspace.blockDevices.detach(source.id);
  cloneAs(() => undefined, 10 * shareMsMax);
  for (const replica of replicas) fragment(replica, sharedExtentsMax + 1);
  expect(await share()).toBeInstanceOf(Date);
  expect(await made()).toHaveLength(3);
});

test("a device that is dead is not made to stand still", async () => {
  for (const { source } of replicas.slice(1)) workspace.blockDevices.setState(source.id, "dead");
  expect(await share()).toBeInstanceOf(Date);
  expect(callsOf("freeze")).toEqual([`freeze ${replicas[0]?.source.id}`]);
});

test("images with too many extents together do not have their I/O held", async () => {
  const [one, other] = replicas;
  if (one === undefined || other === undefined) throw new Error("bug: there are three");
  fragment(one, sharedExtentsMax / 2);
  fragment(other, sharedExtentsMax / 2 + 1);
  expect(await share()).toBeUndefined();
  expect(callsOf("freeze")).toEqual([]);
  expect(await made()).toEqual([]);
  workspace.imageFiles.extents.get(other.source.path)?.pop();
  expect(await share()).toBeInstanceOf(Date);
});

test("when one of them cannot share, as one on btrfs that keeps checksums, all are to be copied", async () => {
  cloneAs((index) => (index === 1 ? Promise.resolve("unsupported") : undefined));
  expect(await share()).toBeUndefined();
  expect(await made()).toEqual([]);
});

test.each(["frozen", "unavailable"] as const)("a freeze that fails with %s is no reason to fail", async (code) => {
  workspace.blockDevices.freeze = () => Promise.reject(new BlockDeviceError(code, "not in time"));
  expect(await share()).toBeUndefined();
});

test("an engine that cannot be asked for its devices fails the attempt: it would not copy either", async () => {
  workspace.blockDevices.find = () => Promise.reject(new BlockDeviceError("unavailable", "no engine"));
  expect(await rejectionOf(share())).toMatchObject({ code: "unavailable" });
  expect(await made()).toEqual([]);
});

test("a file system that is full is a failure, and leaves nothing", async () => {
  cloneAs((index) => (index === 2 ? Promise.reject(Object.assign(new Error("full"), { code: "ENOSPC" })) : undefined));
  expect(await rejectionOf(share())).toMatchObject({ code: "ENOSPC" });
  expect(await made()).toEqual([]);
  expect(callsOf("thaw")).toHaveLength(3);
});

test("a target that is to have blocks of its own is never shared", async () => {
  replicas = replicas.map((replica) => ({ ...replica, isOwnOnly: true }));
  expect(await share()).toBeUndefined();
  expect(callsOf("freeze")).toEqual([]);
});
