import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { parse } from "yaml";
import { acquireFileLock } from "../../system/file-lock.js";
import { mebibyte, mountCapability, rejectionOf, Workspace } from "../../testing/workspace.js";
import { PoolBench } from "./testing/pool-bench.js";

let workspace: Workspace;
let bench: PoolBench;

beforeEach(async () => {
  workspace = await Workspace.create();
  bench = new PoolBench(workspace);
});
afterEach(() => workspace.remove());

const poolRecord = async () => JSON.parse(await readFile(workspace.path("disk", "pool.json"), "utf8"));
const adopt = { verb: "adopt", poolName: "disk", replace: false } as const;

describe("pool list", () => {
  test("shows what each pool holds, for people and for programs", async () => {
    const volume = await bench.createVolume("a");
    await workspace.snapshotter.create({ name: "s", sourceVolumeId: volume.id, parameters: {} });
    bench.mounts = [mountAt("/", "ext4"), mountAt(workspace.path("disk"), "xfs")];
    const { exitCode, answer } = await bench.runJson({ verb: "list" });
    expect(exitCode).toBe(0);
    const { uuid } = await poolRecord();
    expect(answer.pools).toMatchObject([
      { name: "disk", uuid, kind: "file", nodeId: "node-a", fileSystem: "xfs", volumeCount: 1, snapshotCount: 1 },
      { name: "memory", kind: "memory", volumeCount: 0, snapshotCount: 0, bookedBytes: "0" },
    ]);
    const { text } = await bench.run({ verb: "list" });
    expect(text).toMatch(/^NAME +UUID +KIND +DIRECTORY +FS +VOLUMES +SNAPSHOTS +BOOKED +FREE\n/);
    expect(text).toMatch(new RegExp(`disk +${uuid} +file +.*/disk +xfs +1 +1 +\\S+Mi +\\S+\n`));
  });

  test("works beside a running driver, and changes nothing", async () => {
    const lock = await acquireFileLock(workspace.path("lock"), { what: "it" });
    expect((await bench.run({ verb: "list" })).exitCode).toBe(0);
    await lock.release();
  });

  test("says what is wrong with a pool that the driver would not open, and makes none", async () => {
    await rename(workspace.path("disk"), workspace.path("elsewhere"));
    await workspace.makeDirectory("disk");
    const { exitCode, text } = await bench.run({ verb: "list" });
    expect(exitCode).toBe(1);
    expect(text).toContain("pool disk: holds no pool: mount its disk, or start the driver, which makes one");
    expect(await readdir(workspace.path("disk"))).toEqual([]);
  });

  test("shows a pool of a version that had no snapshots", async () => {
    for (const folder of ["snapshots", "groups"]) await rm(workspace.path("disk", folder), { recursive: true });
    expect((await bench.run({ verb: "list" })).exitCode).toBe(0);
  });
});

describe("the node of a pool", () => {
  test("is the first that opens it, also a pool of an older version", async () => {
    const { nodeId: _none, ...old } = await poolRecord();
    await writeFile(workspace.path("disk", "pool.json"), JSON.stringify(old));
    await workspace.reopen();
    expect(await poolRecord()).toMatchObject({ uuid: old.uuid, nodeId: "node-a" });
  });

  test("keeps others away until one of them adopts it", async () => {
    const volume = await bench.createVolume("a");
    await writeFile(workspace.path("disk", "pool.json"), JSON.stringify({ ...(await poolRecord()), nodeId: "node-b" }));
    const { message } = await rejectionOf(workspace.reopen());
    expect(message).toMatch(
      /pool disk: .*disk is the pool of node node-b, and this is node node-a: .*"ublk-csi pool adopt"/,
    );
    expect((await bench.run({ verb: "list" })).text).toContain("is the pool of node node-b");
    const { text, exitCode } = await bench.run(adopt);
    expect(exitCode).toBe(0);
    expect(text).toContain("is node node-a's (before: node-b): 1 volumes, 0 snapshots");
    expect(text).toContain(`volumeHandle: ${volume.id}\n`);
    expect((await bench.run(adopt)).exitCode).toBe(0);
    await workspace.reopen();
    expect(workspace.pools.getVolume(volume.id)).toEqual(volume);
  });
});

describe("pool adopt", () => {
  test("needs the name of this node", async () => {
    bench.nodeId = undefined;
    expect((await rejectionOf(bench.run(adopt))).message).toContain("--node-id is required");
  });

  test("prints PersistentVolumes that have the mount options of their volumes", async () => {
    const plain = { accessType: "mount", accessMode: "SINGLE_NODE_WRITER", fsType: "ext4" } as const;
    const range = { requiredBytes: 2n * mebibyte };
    const [strict] = [
      await workspace.provisioner.create({
        name: "strict",
        range,
        capabilities: [{ ...plain, mountFlags: ["noexec", "nodev"] }],
        parameters: {},
      }),
      await workspace.provisioner.create({
        name: "plain",
        range,
        capabilities: [{ ...plain, mountFlags: [] }],
        parameters: {},
      }),
    ];
    const { answer } = await bench.runJson(adopt);
    const specs = (answer.persistentVolumes as Array<{ metadata: { name: string }; spec: object }>).map(
      ({ metadata, spec }) => [metadata.name, spec],
    );
    expect(Object.fromEntries(specs)).toEqual({
      strict: expect.objectContaining({
        mountOptions: ["noexec", "nodev"],
        csi: expect.objectContaining({ volumeHandle: strict.id }),
      }),
      plain: expect.not.objectContaining({ mountOptions: expect.anything() }),
    });
  });

  test("says which volumes are encrypted, and that they need their Secret named", async () => {
    await bench.createVolume("open");
    const secret = await workspace.provisioner.create({
      name: "secret",
      range: { requiredBytes: 32n * mebibyte },
      capabilities: [mountCapability],
      parameters: { encryption: "luks2" },
    });
    const { text } = await bench.run(adopt);
    const manifests = text.split("---\n");
    expect(manifests.filter((each) => each.includes("nodeStageSecretRef and nodeExpandSecretRef"))).toEqual([
      expect.stringContaining(`volumeHandle: ${secret.id}\n`),
    ]);
    expect(manifests.map((each) => (parse(each) as { kind: string }).kind)).toEqual(Array(2).fill("PersistentVolume"));
    expect((await bench.runJson(adopt)).answer.encryptedVolumeIds).toEqual([secret.id]);
  });

  test("is refused while a driver runs, and says what to do", async () => {
    const lock = await acquireFileLock(workspace.path("lock"), { what: "it" });
    const { exitCode, error } = await bench.run(adopt);
    await lock.release();
    expect(exitCode).toBe(1);
    expect(error).toContain(
      `is in use by process ${process.pid}: stop it, or choose another (this command needs pools`,
    );
  });

  test("gives a name to another pool than it stood for only when told so", async () => {
    const before = await poolRecord();
    await rename(workspace.path("disk"), workspace.path("first"));
    await writeFile(
      workspace.path("other.json"),
      JSON.stringify({ ...before, uuid: "1b4e28ba-2fa1-4d2e-883f-0016d3cca427", nodeId: "node-b" }),
    );
    await mkdir(workspace.path("disk"));
    await rename(workspace.path("other.json"), workspace.path("disk", "pool.json"));
    const refused = await bench.run(adopt);
    expect(refused.exitCode).toBe(1);
    expect(refused.error).toContain(`this name stood for ${before.uuid}: mount the disk of that one`);
    expect(await poolRecord()).toMatchObject({ nodeId: "node-b" });
    expect((await bench.run({ ...adopt, replace: true })).exitCode).toBe(0);
    await workspace.reopen();
    expect(workspace.pools.find("disk")?.directory.uuid).toBe("1b4e28ba-2fa1-4d2e-883f-0016d3cca427");
  });

  test("refuses a directory without a pool, and memory", async () => {
    await rename(workspace.path("disk"), workspace.path("elsewhere"));
    await workspace.makeDirectory("disk");
    expect((await bench.run(adopt)).error).toContain("holds no pool");
    expect((await bench.run({ ...adopt, poolName: "memory" })).error).toContain("pool memory is in memory");
  });
});

function mountAt(mountPoint: string, fsType: string) {
  return {
    deviceNumber: "8:1",
    root: "/",
    mountPoint,
    options: ["rw"],
    fsType,
    source: "/dev/sda1",
    superOptions: ["rw"],
  };
}
