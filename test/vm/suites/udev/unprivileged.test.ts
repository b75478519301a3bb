import { once } from "node:events";
import { stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import { createAndServe, type FeatureReport, removeDevice } from "../../../../src/ublk/index.js";
import { createRandomFile } from "../support/device-io.js";
import { DeviceServer } from "../support/device-server.js";
import { exercised } from "../support/exercised.js";
import { GuestUser } from "../support/guest-user.js";
import { failure, findInfo, mebibyte, sizeBytes, useLibraryRig, waitForState } from "../support/library-rig.js";
import { createPartitionTable } from "../support/partition-table.js";
import { runCommand, tryCommand } from "../support/run-command.js";
import { installShippedRules, settle } from "../support/udev.js";
import { waitFor } from "../support/wait-for.js";

const servers: DeviceServer[] = [];

/** Of a case that failed halfway: before the rig looks for what is left. */
afterEach(async () => {
  for (const server of servers.splice(0)) {
    if (server.process.exitCode === null && server.process.signalCode === null) await server.exit();
  }
});

const rig = useLibraryRig();
const nullDevice = { target: { kind: "null" }, sizeBytes } as const;
/** The default queues take more memory than an ordinary user may lock: twice the usual RLIMIT_MEMLOCK. */
const unprivileged = { unprivileged: true };

let maker: GuestUser;
let neighbour: GuestUser;
let stranger: GuestUser;
let removeRules: () => Promise<void>;

beforeAll(async () => {
  await runCommand("groupadd", ["--system", "ublk"]);
  maker = await GuestUser.create("maker", ["ublk"]);
  neighbour = await GuestUser.create("neighbour", ["ublk"]);
  stranger = await GuestUser.create("stranger");
  removeRules = await installShippedRules();
});

beforeEach(settle);

afterAll(async () => {
  await removeRules();
});

async function startAs(user: GuestUser, params: Parameters<typeof createAndServe>[0]): Promise<DeviceServer> {
  const server = await DeviceServer.start({ create: [params, unprivileged] }, user.prefix);
  servers.push(server);
  return server;
}

async function serveFileAsMaker(): Promise<{ path: string; server: DeviceServer }> {
  const path = await rig.images.createImage(sizeBytes);
  await maker.owns(path);
  return { path, server: await startAs(maker, { target: { kind: "file", path } }) };
}

describe("a user who is not root", () => {
  test("serves a device, and owns both of its nodes", async () => {
    const { path, server } = await serveFileAsMaker();
    const info = await findInfo(server.deviceId);
    expect(info).toMatchObject({ state: "live", serverPid: server.pid, recoverable: false });
    expect(info?.features).toContain("UNPRIVILEGED_DEV");
    for (const node of [`/dev/ublkc${server.deviceId}`, `/dev/ublkb${server.deviceId}`]) {
      const { uid, gid, mode } = await stat(node);
      expect({ node, uid, gid, mode: mode & 0o777 }).toEqual({
        node,
        uid: maker.userId,
        gid: maker.groupId,
        mode: 0o600,
      });
    }
    const data = await createRandomFile(join(rig.images.path, "data"), sizeBytes);
    const device = `/dev/ublkb${server.deviceId}`;
    await maker.run("dd", [
      `if=${data}`,
      `of=${device}`,
      "bs=64k",
      "conv=fsync,notrunc",
      "oflag=direct",
      "status=none",
    ]);
    await maker.run("cmp", [data, device]);
    expect(await server.exit()).toBe(0);
    expect(await findInfo(server.deviceId)).toBeUndefined();
    await runCommand("cmp", [data, path]);
    exercised("UNPRIVILEGED_DEV");
  });

  test("keeps it from other users, group or not", async () => {
    const server = await startAs(maker, nullDevice);
    for (const user of [neighbour, stranger]) {
      for (const node of [`/dev/ublkc${server.deviceId}`, `/dev/ublkb${server.deviceId}`]) {
        expect(await user.exitCode("dd", [`if=${node}`, "of=/dev/null", "bs=4096", "count=1"])).not.toBe(0);
      }
      expect(await user.call("removeDevice", server.deviceId, { force: true })).toMatchObject({
        error: { code: "permission_denied" },
      });
    }
    expect(await findInfo(server.deviceId)).toMatchObject({ state: "live" });
    await server.exit();
  });

  test("sees no device but one's own", async () => {
    const foreign = await createAndServe(nullDevice);
    const server = await startAs(maker, nullDevice);
    const ids = (await maker.call("listDevices")).map(({ deviceId }: { deviceId: number }) => deviceId);
    expect(ids).toEqual([server.deviceId]);
    expect(await neighbour.call("listDevices")).toEqual([]);
    await server.exit();
    await foreign.stop();
  });

  test("removes what a crash left, and so does root", async () => {
    for (const remove of [(id: number) => maker.call("removeDevice", id), removeDevice]) {
      const { server } = await serveFileAsMaker();
      await server.kill();
      await waitForState(server.deviceId, "dead");
      await remove(server.deviceId);
      expect(await findInfo(server.deviceId)).toBeUndefined();
    }
  });

  test("is refused without the group, and told what to do", async () => {
    const { error } = await stranger.call("createAndServe", nullDevice, unprivileged);
    expect(error.code).toBe("permission_denied");
    expect(error.message).toContain("unprivileged: true");
    expect(error.message).toContain("59-ublk.rules");
  });

  test("is refused a device as root makes it", async () => {
    const { error } = await maker.call("createAndServe", nullDevice);
    expect(error).toMatchObject({ code: "permission_denied" });
    expect(error.message).toContain("ADD_DEV, EPERM");
  });

  test("is told which features it does without", async () => {
    const reports: FeatureReport[] = await maker.call("reportFeatures", nullDevice, unprivileged);
    const denied = reports.filter(({ refusal }) => refusal?.cause === "needs-privilege").map(({ name }) => name);
    expect(denied).toEqual(expect.arrayContaining(["USER_RECOVERY", "USER_COPY"]));
    const { error } = await maker.call("createAndServe", nullDevice, { ...unprivileged, recoverable: true });
    expect(error.message).toContain("an unprivileged device cannot be recoverable");
  });
});

test("partitions of an unprivileged device are not looked for", async () => {
  const path = await rig.images.createImage(8 * mebibyte);
  await writeFile(path, createPartitionTable(), { flag: "r+" });
  await maker.owns(path);
  const server = await startAs(maker, { target: { kind: "file", path } });
  await settle();
  const partition = await stat(`/sys/block/ublkb${server.deviceId}/ublkb${server.deviceId}p1`).catch(() => undefined);
  expect(partition).toBeUndefined();
  await server.exit();
});

test("a server that leaves a request unanswered is killed by the kernel", async () => {
  const server = await startAs(maker, nullDevice);
  const disk = `ublkb${server.deviceId}`;
  await writeFile(`/sys/block/${disk}/queue/io_timeout`, "1000");
  const killed = once(server.process, "exit");
  server.process.kill("SIGSTOP");
  const read = tryCommand("dd", [`if=/dev/${disk}`, "of=/dev/null", "bs=4096", "count=1", "iflag=direct"]);
  expect(await killed).toEqual([null, "SIGKILL"]);
  expect((await read).exitCode).not.toBe(0);
  exercised("UNPRIVILEGED_DEV");
  await waitForState(server.deviceId, "dead");
  await removeDevice(server.deviceId);
});

test("root's device is none of its business", async () => {
  const device = await createAndServe(nullDevice);
  await settle();
  const { uid } = await stat(device.path);
  expect(uid).toBe(0);
  await device.stop();
  const error = await failure(createAndServe(nullDevice, unprivileged));
  expect(error.message).toContain("the driver drops it for a process with CAP_SYS_ADMIN");
  await waitFor("nothing of it is left", async () => (await findInfo(device.deviceId)) === undefined);
});
