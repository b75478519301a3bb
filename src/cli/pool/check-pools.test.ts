import { once } from "node:events";
import { mkdir, readdir, readFile, rename, rm, rmdir, symlink, truncate, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { FakeNode, toSpec } from "../../engine/testing/fake-node.js";
import type { Volume } from "../../pools/volume/volume.js";
import { acquireFileLock, type FileLock } from "../../system/file-lock.js";
import { mebibyte, Workspace } from "../../testing/workspace.js";
import { PoolBench } from "./testing/pool-bench.js";

let workspace: Workspace;
let bench: PoolBench;

beforeEach(async () => {
  workspace = await Workspace.create();
  bench = new PoolBench(workspace);
});
afterEach(() => workspace.remove());

async function snapshotOf(volume: Volume, name: string): Promise<string> {
  return (await workspace.snapshotter.create({ name, sourceVolumeId: volume.id, parameters: {} })).id;
}

const disk = (...names: string[]) => workspace.path("disk", ...names);

async function check({ repair = false, removeIds = [] as string[] } = {}) {
  const { exitCode, answer } = await bench.runJson({ verb: "check", repair, removeIds });
  const findings = answer.findings as Array<{ kind: string; id?: string; state: string; message: string }>;
  return { exitCode, findings, told: findings.map(({ state, kind, id }) => [state, kind, id].join(" ").trim()).sort() };
}

/** A folder of a volume or snapshot, with these files. */
async function plant(folder: "volumes" | "snapshots", id: string, ...files: string[]): Promise<void> {
  await mkdir(disk(folder, id));
  for (const file of files) await writeFile(disk(folder, id, file), "data");
}

test("pools that are well have no finding", async () => {
  await snapshotOf(await bench.createVolume("a"), "s");
  const { exitCode, text } = await bench.run({ verb: "check", repair: false, removeIds: [] });
  expect({ exitCode, text }).toEqual({ exitCode: 0, text: "0 problems, 0 notes, 0 repaired\n" });
});

describe("pool check finds", () => {
  test("volumes and snapshots whose image is missing, of a wrong size, or without a record", async () => {
    const [lost, cut, long, noRecord, well] = await Promise.all(
      ["a", "b", "c", "d", "e"].map((name) => bench.createVolume(name)),
    );
    if (!lost || !cut || !long || !noRecord || !well) throw new Error("unreachable");
    const [cutSnapshot, noSnapshotRecord] = [await snapshotOf(well, "s"), await snapshotOf(well, "t")];
    await rm(disk("volumes", lost.id, "image"));
    await truncate(disk("volumes", cut.id, "image"), 4096);
    await truncate(disk("volumes", long.id, "image"), Number(4n * mebibyte));
    await rm(disk("volumes", noRecord.id, "volume.json"));
    await truncate(disk("snapshots", cutSnapshot, "image"), 4096);
    await rm(disk("snapshots", noSnapshotRecord, "snapshot.json"));
    const { exitCode, told } = await check();
    expect(exitCode).toBe(1);
    expect(told).toEqual(
      [
        `problem image-lost ${lost.id}`,
        `problem image-lost ${cut.id}`,
        `problem record-unusable ${long.id}`,
        `problem image-without-record ${noRecord.id}`,
        `problem record-unusable ${cutSnapshot}`,
        `problem image-without-record ${noSnapshotRecord}`,
      ].sort(),
    );
  });

  test("snapshots of a group without a record, and groups without their snapshots", async () => {
    const [a, b] = [await bench.createVolume("a"), await bench.createVolume("b")];
    const request = { name: "g", sourceVolumeIds: [a.id, b.id], parameters: {} };
    const { group, members } = await workspace.groups.create(request);
    await rename(disk("groups", `${group.id}.json`), workspace.path("record"));
    expect((await check()).told).toEqual(members.map(({ id }) => `problem snapshot-without-group ${id}`).sort());
    await writeFile(disk("groups", `${group.id}.unfinished`), "");
    expect((await check()).told).toEqual(members.map(({ id }) => `problem group-unfinished ${id}`).sort());
    await rename(workspace.path("record"), disk("groups", `${group.id}.json`));
    await rm(disk("snapshots", members[0]?.id ?? ""), { recursive: true });
    expect((await check()).told).toEqual([`problem group-incomplete ${group.id}`]);
  });

  test("a pool that is not there, and then does not call its devices strangers", async () => {
    const volume = await bench.createVolume("a");
    await attachFor(volume);
    await rename(disk(), workspace.path("elsewhere"));
    expect((await check()).told).toEqual([`note device-without-volume ${volume.id}`, "problem pool-unavailable"]);
  });

  test("devices without a volume, by the journal", async () => {
    const volume = await bench.createVolume("a");
    await attachFor(volume);
    expect((await check()).told).toEqual([]);
    await rm(disk("volumes", volume.id), { recursive: true });
    await writeFile(workspace.path("engine", "devices", "broken.json"), "{");
    const { told, findings } = await check();
    expect(told).toEqual(
      ["problem device-without-volume", "problem journal-unreadable broken"].map((text, at) =>
        at === 0 ? `${text} ${volume.id}` : text,
      ),
    );
    expect(findings[1]?.message).toContain("/dev/ublkb0 is in the journal");
  });

  test("mounts of devices that are gone, and of no others", async () => {
    const mount = (mountPoint: string, of: object) => ({
      deviceNumber: "259:7",
      root: "/",
      mountPoint: `/var/lib/kubelet/${mountPoint}`,
      options: ["rw"],
      fsType: "ext4",
      source: "/dev/ublkb7",
      superOptions: ["rw"],
      ...of,
    });
    bench.mounts = [
      mount("gone", {}),
      mount("there", { deviceNumber: "259:1", source: "/dev/ublkb1" }),
      mount("node-gone", { fsType: "devtmpfs", source: "udev", root: "/ublkb7//deleted" }),
      mount("btrfs-gone", { fsType: "btrfs", deviceNumber: "0:50" }),
      mount("mapping-gone", { deviceNumber: "253:7", source: "/dev/mapper/ublk-csi-x" }),
      mount("other", { source: "/dev/sda1" }),
      { ...mount("", {}), mountPoint: "/mnt" },
    ];
    await mkdir(workspace.path("sys", "dev", "block", "259:1"), { recursive: true });
    const { findings } = await check();
    expect(findings.map(({ kind, message }) => `${kind} ${message.split(" ")[0]}`)).toEqual(
      ["gone", "node-gone", "btrfs-gone", "mapping-gone"].map(
        (name) => `mount-without-device /var/lib/kubelet/${name}`,
      ),
    );
  });

  test("what a running driver may be making as a note", async () => {
    await plant("volumes", "new", "image", "unfinished");
    const lock = await acquireFileLock(workspace.path("lock"), { what: "it" });
    const { exitCode, told } = await check();
    const refused = await bench.run({ verb: "check", repair: true, removeIds: [] });
    await lock.release();
    expect({ exitCode, told }).toEqual({ exitCode: 0, told: ["note image-unfinished new"] });
    expect(refused).toMatchObject({ exitCode: 1, error: expect.stringContaining("is in use by process") });
    expect(await readdir(disk("volumes", "new"))).toEqual(["image", "unfinished"]);
  });
});

describe("pool check beside a driver", () => {
  let lock: FileLock;
  beforeEach(async () => {
    lock = await acquireFileLock(workspace.path("lock"), { what: "it" });
  });
  afterEach(() => lock.release());

  test("does not take a growth or a removal that it saw half of for damage", async () => {
    const [growing, going] = [await bench.createVolume("a"), await bench.createVolume("b")];
    await truncate(disk("volumes", growing.id, "image"), Number(4n * mebibyte));
    await truncate(disk("volumes", going.id, "image"), 0);
    bench.parts.readMounts = async () => {
      await truncate(disk("volumes", growing.id, "image"), Number(2n * mebibyte));
      await rm(disk("volumes", going.id), { recursive: true, force: true });
      return [];
    };
    expect(await check()).toMatchObject({ exitCode: 0, told: [] });
  });

  test("tells of damage that stays", async () => {
    const [lost, long] = [await bench.createVolume("a"), await bench.createVolume("b")];
    await rm(disk("volumes", lost.id, "image"));
    await truncate(disk("volumes", long.id, "image"), Number(4n * mebibyte));
    const { exitCode, told } = await check();
    expect(exitCode).toBe(1);
    expect(told).toEqual([`problem image-lost ${lost.id}`, `problem record-unusable ${long.id}`]);
  });

  test("goes on when volumes come and go while it looks", async () => {
    let isOver = false;
    const comeAndGo = async (_: unknown, at: number) => {
      for (let round = 0; !isOver; round++) {
        await mkdir(disk("volumes", `passing-${at}-${round}`));
        await rmdir(disk("volumes", `passing-${at}-${round}`));
      }
    };
    const passing = Promise.all(Array.from({ length: 10 }, comeAndGo));
    const errors: string[] = [];
    for (let round = 0; round < 5; round++) {
      errors.push((await bench.run({ verb: "check", repair: false, removeIds: [] })).error);
    }
    isOver = true;
    await passing;
    expect(errors).toEqual(Array(5).fill(""));
  });
});

test("pool check takes a lock that cannot be tried for no sign of a driver, and says why", async () => {
  const socket = createServer().listen(workspace.path("lock"));
  await once(socket, "listening");
  const { exitCode, error } = await bench.run({ verb: "check", repair: false, removeIds: [] });
  await new Promise((resolve) => socket.close(resolve));
  expect({ exitCode, error }).toMatchObject({ exitCode: 1, error: expect.stringContaining("cannot lock") });
});

describe("pool check --repair", () => {
  test("removes temporary files and empty folders, and nothing that holds data", async () => {
    const volume = await bench.createVolume("a");
    await plant("volumes", "orphan", "image", "volume.json.tmp");
    await plant("volumes", "empty");
    await plant("volumes", "cut-short", "volume.json.tmp");
    await plant("snapshots", "empty-too");
    await writeFile(disk("volumes", volume.id, "volume.json.tmp"), "");
    await writeFile(disk("volumes", volume.id, "notes.txt"), "somebody's");
    await writeFile(disk("groups", "x.json.tmp"), "");
    await writeFile(disk("pool.json.tmp"), "");
    await writeFile(disk("data.tmp"), "somebody's");
    await writeFile(disk("volumes", volume.id, "notes.tmp"), "somebody's");
    await mkdir(workspace.path("elsewhere"));
    await writeFile(workspace.path("elsewhere", "volume.json.tmp"), "somebody's");
    await symlink(workspace.path("elsewhere"), disk("volumes", "link"));
    await plant("volumes", "Backup", "volume.json.tmp");
    await writeFile(workspace.path("pools", "disk.json.tmp"), "");
    expect((await check()).exitCode).toBe(1);
    const { exitCode, told } = await check({ repair: true });
    expect(exitCode).toBe(1);
    expect(told).toEqual([
      "note stranger",
      "note stranger",
      "problem image-without-record orphan",
      "repaired empty-folder cut-short",
      "repaired empty-folder empty",
      "repaired empty-folder empty-too",
      ...Array.from({ length: 6 }, () => "repaired temporary-file"),
    ]);
    expect((await readdir(disk("volumes"))).sort()).toEqual([volume.id, "Backup", "link", "orphan"].sort());
    expect(await readdir(disk("volumes", "Backup"))).toEqual(["volume.json.tmp"]);
    expect(await readdir(workspace.path("elsewhere"))).toEqual(["volume.json.tmp"]);
    expect(await readdir(disk("volumes", "orphan"))).toEqual(["image"]);
    expect((await readdir(disk("volumes", volume.id))).sort()).toEqual([
      "image",
      "notes.tmp",
      "notes.txt",
      "volume.json",
    ]);
    expect(await readdir(disk())).toContain("data.tmp");
    expect((await check()).told).toEqual(["note stranger", "note stranger", "problem image-without-record orphan"]);
  });

  test("leaves a folder with something else in it, and says so", async () => {
    await plant("volumes", "odd", "precious");
    const { exitCode, findings } = await check({ repair: true });
    expect(exitCode).toBe(1);
    expect(findings).toMatchObject([{ state: "problem", message: expect.stringMatching(/not repaired: ENOTEMPTY/) }]);
    expect(await readFile(disk("volumes", "odd", "precious"), "utf8")).toBe("data");
  });
});

describe("pool check --remove", () => {
  test("removes damaged volumes and snapshots by name, and no others", async () => {
    const volume = await bench.createVolume("a");
    const [broken, kept] = [await snapshotOf(volume, "s"), await snapshotOf(volume, "t")];
    for (const id of [broken, kept]) await writeFile(disk("snapshots", id, "snapshot.json"), "{");
    await plant("volumes", "orphan", "image");
    const { exitCode, told } = await check({ removeIds: ["orphan", broken] });
    expect(exitCode).toBe(1);
    expect(told).toEqual([
      `problem record-unusable ${kept}`,
      ...["removed image-without-record orphan", `removed record-unusable ${broken}`].sort(),
    ]);
    expect(await readdir(disk("snapshots"))).toEqual([kept]);
    expect(await readdir(disk("volumes"))).toEqual([volume.id]);
  });

  test("is refused, and nothing changed, for what is well, unknown, or in the hands of the engine", async () => {
    const volume = await bench.createVolume("a");
    await plant("volumes", "orphan", "image");
    for (const id of [volume.id, "unknown"]) {
      const { exitCode, error } = await bench.run({ verb: "check", repair: true, removeIds: ["orphan", id] });
      expect({ exitCode, error }).toMatchObject({
        exitCode: 1,
        error: expect.stringContaining(`--remove ${id}: nothing is wrong`),
      });
    }
    await attachFor({ ...volume, id: "orphan" });
    const { error } = await bench.run({ verb: "check", repair: true, removeIds: ["orphan"] });
    expect(error).toContain("the engine has a device of it");
    expect(await readdir(disk("volumes", "orphan"))).toEqual(["image"]);
  });
});

/** Leaves an entry for a volume in the journal of the workspace's state directory, as an engine would. */
async function attachFor({ id }: Pick<Volume, "id">): Promise<void> {
  const machine = await FakeNode.create();
  const image = workspace.path(`${id}.image`);
  await writeFile(image, Buffer.alloc(1 << 20));
  await machine.startEngine().attach(toSpec(id, image, 1 << 20));
  await mkdir(workspace.path("engine"), { recursive: true });
  await mkdir(workspace.path("engine", "devices"), { recursive: true });
  const entry = await readFile(`${machine.journalFolder}/${id}.json`);
  await writeFile(workspace.path("engine", "devices", `${id}.json`), entry);
  machine.addon.kill();
  await machine.destroy();
}
