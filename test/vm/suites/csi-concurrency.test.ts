import { open, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { status as Code } from "@grpc/grpc-js";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import {
  ControllerExpandVolumeRequest,
  ControllerModifyVolumeRequest,
  ControllerService,
  ListVolumesRequest,
  NodeService,
  NodeUnpublishVolumeRequest,
  NodeUnstageVolumeRequest,
} from "../../../src/gen/csi/csi.js";
import { readMachineState, waitUntilNothingIsLeft } from "./support/machine-state.js";
import { findMountsBelow } from "./support/mounts.js";
import { byScale } from "./support/scale.js";
import { TestBed } from "./support/test-bed.js";
import type { TestVolume } from "./support/test-volume.js";

const mebibyte = 1024 ** 2;
const mount = { kind: "mount", fsType: "ext4" } as const;
const block = { kind: "block" } as const;
const callCount = 100;
const volumeCount = byScale({ full: 100, smoke: 10 });

let bed: TestBed;

beforeAll(async () => {
  bed = await TestBed.start("concurrency");
});
afterAll(async () => await bed.dispose());

/** What a caller that is in another one's way may be told. Anything else is a fault of the driver. */
const politeCodes: readonly (number | undefined)[] = [
  Code.ABORTED,
  Code.FAILED_PRECONDITION,
  Code.ALREADY_EXISTS,
  Code.NOT_FOUND,
];

async function isPolite(call: Promise<unknown>): Promise<unknown> {
  try {
    await call;
    return undefined;
  } catch (error) {
    return politeCodes.includes((error as { code?: number }).code) ? undefined : error;
  }
}

/** As kubelet and the sidecars do: a call that was not done in time is made again. */
async function persist(call: () => Promise<unknown>): Promise<void> {
  const again: readonly (number | undefined)[] = [Code.DEADLINE_EXCEEDED, Code.ABORTED];
  for (;;) {
    const error = await call().then(
      () => undefined,
      (thrown: unknown) => thrown as { code?: number },
    );
    if (error === undefined) return;
    if (!again.includes(error.code)) throw error;
  }
}

const placeOf = ({ wish, targetPath }: TestVolume) =>
  wish.access.kind === "mount" ? join(targetPath, "who") : targetPath;

/** Puts the id of a volume into its bytes. */
async function writeName(volume: TestVolume): Promise<void> {
  const file = await open(placeOf(volume), volume.wish.access.kind === "mount" ? "w" : "r+");
  await file.write(volume.id, 0);
  await file.sync();
  await file.close();
}

async function readName(volume: TestVolume): Promise<string> {
  const file = await open(placeOf(volume), "r");
  const { buffer } = await file.read(Buffer.alloc(volume.id.length), 0, volume.id.length, 0);
  await file.close();
  return buffer.toString();
}

async function listIds(): Promise<string[]> {
  const { entries } = await bed.driver.client.call(ControllerService.listVolumes, ListVolumesRequest.fromPartial({}));
  return entries.map(({ volume }) => volume?.volumeId ?? "").sort();
}

function changes(volume: TestVolume): Array<() => Promise<unknown>> {
  const { client } = bed.driver;
  const { id: volumeId, targetPath, stagingPath: stagingTargetPath } = volume;
  const sizes = [16, 20, 24].map((size) => ({ requiredBytes: BigInt(size * mebibyte) }));
  return [
    () => volume.create(),
    () => volume.stage(),
    () => volume.publish(),
    () =>
      client.call(NodeService.nodeUnpublishVolume, NodeUnpublishVolumeRequest.fromPartial({ volumeId, targetPath })),
    () =>
      client.call(NodeService.nodeUnstageVolume, NodeUnstageVolumeRequest.fromPartial({ volumeId, stagingTargetPath })),
    ...sizes.map(
      (capacityRange) => () =>
        client.call(
          ControllerService.controllerExpandVolume,
          ControllerExpandVolumeRequest.fromPartial({ volumeId, capacityRange }),
        ),
    ),
    ...["1000", "2000"].map(
      (iops) => () =>
        client.call(
          ControllerService.controllerModifyVolume,
          ControllerModifyVolumeRequest.fromPartial({ volumeId, mutableParameters: { iops } }),
        ),
    ),
  ];
}

test(`${callCount} calls at once to create a volume make one`, async () => {
  const volume = bed.volume({ name: "one", sizeBytes: 16 * mebibyte, access: mount });
  const made = await Promise.all(Array.from({ length: callCount }, () => volume.create()));
  expect(new Set(made.map(({ volumeId }) => volumeId)).size).toBe(1);
  expect(await listIds()).toEqual([volume.id]);
  await volume.delete();
});

test(`${callCount} calls at once on one volume: every answer is in order, and so is the volume`, async () => {
  const before = await readMachineState();
  const volume = bed.volume({ name: "busy", sizeBytes: 16 * mebibyte, access: mount });
  await volume.start();
  await writeFile(join(volume.targetPath, "note"), "kept");
  const kinds = changes(volume);
  const calls = Array.from({ length: callCount }, (_, index) =>
    isPolite(kinds[(index * 7) % kinds.length]?.() ?? volume.stage()),
  );
  expect((await Promise.all(calls)).filter((error) => error !== undefined)).toEqual([]);
  await volume.stage();
  await volume.publish();
  expect(await readFile(join(volume.targetPath, "note"), "utf8")).toBe("kept");
  expect(findMountsBelow(join(bed.directory, "kubelet"))).toHaveLength(2);
  await volume.finish();
  expect(await listIds()).toEqual([]);
  await waitUntilNothingIsLeft(before);
}, 300_000);

test(`${volumeCount} volumes at once, each through its whole life: each has its own bytes, and nothing is left`, async () => {
  const before = await readMachineState();
  const volumes = Array.from({ length: volumeCount }, (_, index) =>
    bed.volume({
      name: `all-${index}`,
      sizeBytes: 16 * mebibyte,
      // Most without mkfs, which takes the processor for itself; driver-many.test.ts has them all mounted.
      access: index % 10 === 0 ? mount : block,
      parameters: { queueDepth: "8", provisioning: "thin" },
    }),
  );
  await Promise.all(
    volumes.map(async (volume) => {
      for (const verb of ["create", "stage", "publish"] as const) await persist(() => volume[verb]());
      await writeName(volume);
    }),
  );
  expect(await listIds()).toEqual(volumes.map(({ id }) => id).sort());
  for (const volume of volumes) expect(await readName(volume)).toBe(volume.id);
  await Promise.all(
    volumes.map(async (volume) => {
      for (const verb of ["unpublish", "unstage", "delete"] as const) await persist(() => volume[verb]());
    }),
  );
  expect(await listIds()).toEqual([]);
  expect(await readdir(join(bed.poolPath, "volumes"))).toEqual([]);
  await waitUntilNothingIsLeft(before);
}, 1_200_000);
