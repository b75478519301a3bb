import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { createAndServe, type UblkDevice } from "../../../../src/ublk/index.js";
import { exists } from "../support/exists.js";
import { mebibyte, useLibraryRig } from "../support/library-rig.js";
import { runCommand } from "../support/run-command.js";
import { byScale } from "../support/scale.js";
import { findUdevDaemons, installRules } from "../support/udev.js";
import { waitFor } from "../support/wait-for.js";

/**
 * What newer distributions do with ublk devices, and more: probe each disk when it appears and after every writer, hold
 * it a while longer, and open the server's node just when the server wants it, which the driver allows to one only.
 */
const nosyRules = `
SUBSYSTEM=="ublk-char", ACTION=="add", PROGRAM="/bin/sh -c 'exec 3< /dev/%k && sleep 0.2'"
SUBSYSTEM=="block", KERNEL=="ublkb*", OPTIONS+="watch", IMPORT{builtin}="blkid", SYMLINK+="ublk-seen/%k"
SUBSYSTEM=="block", KERNEL=="ublkb*", ACTION!="remove", PROGRAM="/bin/sh -c 'exec 3< /dev/%k && sleep 0.1'"
`;

const rig = useLibraryRig();
const deviceCount = byScale({ full: 30, smoke: 6 });

let removeRules: () => Promise<void>;

beforeAll(async () => {
  removeRules = await installRules("61-nosy.rules", nosyRules);
});

afterAll(async () => {
  await removeRules();
});

async function serveWithUdev(): Promise<UblkDevice> {
  return (await rig.serveFile({ queueDepth: 8 }, mebibyte)).device;
}

const seenBy = (device: UblkDevice) =>
  waitFor(`udev saw ${device.path}`, () => exists(`/dev/ublk-seen/ublkb${device.deviceId}`));

test("udev runs here", async () => {
  expect(await findUdevDaemons()).not.toEqual([]);
});

test("a device is served although udev opens its node first", async () => {
  const device = await serveWithUdev();
  await seenBy(device);
  await runCommand("dd", ["if=/dev/zero", `of=${device.path}`, "bs=64k", "count=16", "conv=fsync", "status=none"]);
  await device.stop();
});

test("a device goes while udev probes it", async () => {
  for (let round = 0; round < byScale({ full: 5, smoke: 2 }); round++) {
    const device = await serveWithUdev();
    // The end of a writer makes udev probe the device again, and that is when it is stopped.
    await runCommand("dd", ["if=/dev/zero", `of=${device.path}`, "bs=4k", "count=1", "conv=fsync", "status=none"]);
    await device.stop();
    expect(device.state).toBe("stopped");
  }
});

test(`${deviceCount} devices come and go, each seen by udev, in one go and one by one`, async () => {
  const devices = await Promise.all(Array.from({ length: deviceCount }, serveWithUdev));
  await Promise.all(devices.map(seenBy));
  await Promise.all(devices.map((device) => device.stop()));
  for (let i = 0; i < deviceCount / 3; i++)
    await (await createAndServe({ target: { kind: "null" }, sizeBytes: mebibyte })).stop();
  const links = devices.map(({ deviceId }) => `/dev/ublk-seen/ublkb${deviceId}`);
  await waitFor("udev forgot them", async () => !(await Promise.all(links.map(exists))).includes(true));
});
