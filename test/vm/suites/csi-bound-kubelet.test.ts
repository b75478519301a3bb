import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { VolumeCapability_AccessMode_Mode as AccessMode } from "../../../src/gen/csi/csi.js";
import { findMountsBelow } from "./support/mounts.js";
import { runCommand } from "./support/run-command.js";
import { TestBed } from "./support/test-bed.js";

let bed: TestBed;
let kubelet: string;
let disk: string;

/** Kubelet's directory lies on another disk and is bound to its place, so that the kernel shows each mount in it twice. */
beforeAll(async () => {
  bed = await TestBed.start("bound-kubelet");
  kubelet = join(bed.directory, "kubelet");
  disk = join(bed.directory, "kubelet-disk");
  await mkdir(disk);
  await mkdir(kubelet, { recursive: true });
  await runCommand("mount", ["--bind", disk, disk]);
  // Its mounts are shared with kubelet's directory only, and not with what it covers.
  for (const kind of ["--make-private", "--make-shared"]) await runCommand("mount", [kind, disk]);
  await runCommand("mount", ["--bind", disk, kubelet]);
});
afterAll(async () => {
  for (const path of [kubelet, disk]) {
    for (const { mountPoint } of findMountsBelow(path).reverse()) await runCommand("umount", [mountPoint]);
  }
  await bed.dispose();
});

test("a volume of a single writer is published, unpublished and unstaged though each of its mounts is there twice", async () => {
  const volume = bed.volume({
    name: "twice",
    sizeBytes: 64 * 1024 ** 2,
    access: { kind: "mount", fsType: "ext4" },
    accessMode: AccessMode.SINGLE_NODE_SINGLE_WRITER,
  });
  await volume.create();
  await volume.stage();
  const second = volume.stagingPath.replace(kubelet, disk);
  expect(findMountsBelow(disk).map(({ mountPoint }) => mountPoint)).toEqual([disk, second]);
  await volume.publish();
  await volume.finish();
  expect(findMountsBelow(disk)).toHaveLength(1);
});
