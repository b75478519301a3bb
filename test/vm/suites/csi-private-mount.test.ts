import { constants } from "node:fs";
import { mkdir, open, rmdir, unlink, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, test } from "@jest/globals";
import { replayLog } from "../../../src/node/filesystems/private-mount.js";
import { createCommandRunner, type RunCommand } from "../../../src/system/command.js";
import { exists } from "./support/exists.js";
import { runCommand } from "./support/run-command.js";
import { waitFor } from "./support/wait-for.js";

const root = "/run/ublk-csi-private";
const [backing, other, gate, ready] = [`${root}/disk`, `${root}/other`, `${root}/gate`, `${root}/ready`];
let device: string;

beforeAll(async () => {
  await mkdir(root);
  // As systemd leaves every mount of a node.
  await runCommand("mount", ["-t", "tmpfs", "private", root]);
  await runCommand("mount", ["--make-shared", root]);
  await mkdir(other);
  await runCommand("truncate", ["-s", "16M", backing]);
  device = (await runCommand("losetup", ["--find", "--show", backing])).trim();
  await runCommand("mkfs.ext4", ["-q", device]);
  await runCommand("mkfifo", [gate]);
});
afterAll(async () => {
  await runCommand("losetup", ["--detach", device]);
  for (const file of [backing, gate, ready]) await unlink(file);
  await rmdir(other);
  await runCommand("umount", [root]);
  await rmdir(root);
});

/** In the namespace of the private mount, for as long as the mount would take, which a test decides. */
const runHeld: RunCommand = (program, args, options) => {
  const namespace = args.slice(0, args.indexOf("mount"));
  const script = `: > ${ready}; cat ${gate}`;
  return createCommandRunner(process.env)(program, [...namespace, "sh", "-c", script], options);
};

test("a file system that is mounted for a moment holds no other one that is unmounted meanwhile", async () => {
  await runCommand("mount", [device, other]);
  const replay = replayLog(runHeld, { devicePath: "/dev/none", scratchPath: root, fsType: "xfs", options: "nouuid" });
  await waitFor("the namespace is there", () => exists(ready));
  try {
    await runCommand("umount", [other]);
    // Without O_CREAT, O_EXCL on a block device asks for it exclusively.
    await (await open(device, constants.O_RDONLY | constants.O_EXCL)).close();
  } finally {
    await writeFile(gate, "");
    await replay;
  }
});
