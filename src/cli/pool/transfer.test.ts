import { randomUUID } from "node:crypto";
import { mkdir, open, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import type { PoolSettings } from "../../pools/capacity/pool-settings.js";
import { CommandError } from "../../system/command.js";
import { acquireFileLock } from "../../system/file-lock.js";
import { blockCapability, mebibyte, mountCapability, runRealCommand, Workspace } from "../../testing/workspace.js";
import type { ExportCommand, ImportCommand } from "./pool-command.js";
import { PoolBench } from "./testing/pool-bench.js";

let workspace: Workspace;
let bench: PoolBench;

beforeEach(async () => {
  workspace = await Workspace.create();
  bench = new PoolBench(workspace);
});
afterEach(() => workspace.remove());

const size = 4 * Number(mebibyte);

/** A raw image with data at its begin and its end, and a hole between. */
async function makeRaw(name = "source.img", sizeBytes = size): Promise<string> {
  const path = workspace.path(name);
  const file = await open(path, "w");
  await file.truncate(sizeBytes);
  for (const at of [0, sizeBytes - 5000]) await file.write(Buffer.alloc(5000, `data at ${at} `), 0, 5000, at);
  await file.close();
  return path;
}

async function makeQcow2(from: string, name = "source.qcow2"): Promise<string> {
  await runRealCommand("qemu-img", ["convert", "-O", "qcow2", from, workspace.path(name)]);
  return workspace.path(name);
}

function toImport(sourcePath: string, wish: Partial<ImportCommand> = {}) {
  const open = { format: undefined, poolName: undefined, sizeBytes: undefined, access: undefined };
  return {
    verb: "import",
    sourcePath,
    ...open,
    name: "a",
    provisioning: "thin",
    storageClassName: "",
    ...wish,
  } as const;
}

function toExport(id: string, targetPath: string, format: ExportCommand["format"] = "raw") {
  return { verb: "export", id, targetPath, format } as const;
}

async function importVolume(sourcePath: string, wish?: Partial<ImportCommand>): Promise<string> {
  const { answer } = await bench.runJson(toImport(sourcePath, wish));
  await workspace.reopen();
  return String(answer.volumeId);
}

const imageOf = (id: string, pool = "disk") =>
  pool === "disk"
    ? workspace.path("disk", "volumes", id, "image")
    : workspace.path("memory", pool, "volumes", id, "image");
/** A file pool without a volume, besides those of the workspace. */
async function addPool(name: string, settings: Partial<PoolSettings> = {}): Promise<void> {
  const directory = await workspace.makeDirectory(name);
  const record = JSON.parse(await readFile(workspace.path("disk", "pool.json"), "utf8"));
  await writeFile(join(directory, "pool.json"), JSON.stringify({ ...record, uuid: randomUUID() }));
  bench.morePools.push({ kind: "file", name, directory, settings });
}

const volumeIds = () => readdir(workspace.path("disk", "volumes"));

describe("pool import", () => {
  test("makes a volume that the driver has, with the bytes and the holes of a raw image", async () => {
    const source = await makeRaw();
    const id = await importVolume(source);
    expect(workspace.pools.getVolume(id)).toMatchObject({
      name: "a",
      sizeBytes: BigInt(size),
      capabilities: [blockCapability],
      isImported: true,
    });
    expect((await readFile(imageOf(id))).equals(await readFile(source))).toBe(true);
    expect((await stat(imageOf(id))).blocks * 512).toBeLessThan(size / 2);
    expect((await stat(imageOf(id))).mode & 0o777).toBe(0o600);
  });

  test("unpacks qcow2, books what it takes, and allocates all of a thick volume", async () => {
    const raw = await makeRaw();
    const before = workspace.pools.find("memory")?.ledger.reservedBytes ?? 0n;
    const id = await importVolume(await makeQcow2(raw), { poolName: "memory", provisioning: "thick" });
    expect((await readFile(imageOf(id, "memory"))).equals(await readFile(raw))).toBe(true);
    expect((await stat(imageOf(id, "memory"))).blocks * 512).toBeGreaterThanOrEqual(size);
    expect(workspace.pools.find("memory")?.ledger.reservedBytes).toBe(before + BigInt(size));
  });

  test("takes a file system for a mount, and prints a PersistentVolume that names volume and node", async () => {
    const source = await makeRaw("fs.img");
    await runRealCommand("mkfs.ext4", ["-q", "-F", source]);
    const { text } = await bench.run(toImport(source, { storageClassName: "fast", sizeBytes: 8n * mebibyte }));
    await workspace.reopen();
    const volume = workspace.pools.findVolumeByName("a");
    expect(volume?.capabilities).toEqual([mountCapability]);
    expect(text).toBe(`# volume ${volume?.id} in pool disk
apiVersion: v1
kind: PersistentVolume
metadata:
  name: a
spec:
  capacity:
    storage: "8388608"
  volumeMode: Filesystem
  accessModes:
    - ReadWriteOnce
  persistentVolumeReclaimPolicy: Retain
  storageClassName: fast
  csi:
    driver: csi.ublk.io
    volumeHandle: ${volume?.id}
    fsType: ext4
    volumeAttributes:
      pool: disk
      provisioning: thin
  nodeAffinity:
    required:
      nodeSelectorTerms:
        - matchExpressions:
            - key: topology.csi.ublk.io/node
              operator: In
              values:
                - node-a
`);
  });

  test("rounds up an image that ends within a block", async () => {
    const id = await importVolume(await makeRaw("odd.img", size + 100));
    expect((await stat(imageOf(id))).size).toBe(size + 512);
  });

  test.each([
    ["a backing file", ["create", "-q", "-f", "qcow2", "-b", "source.img", "-F", "raw"], "has a backing file"],
    ["a data file", ["create", "-q", "-f", "qcow2", "-o", "data_file=data.img"], "keeps its data in another file"],
  ])("refuses qcow2 with %s", async (_what, args, reason) => {
    await makeRaw();
    await runRealCommand("sh", ["-c", `cd ${workspace.directory} && qemu-img ${args.join(" ")} bad.qcow2 4M`]);
    const { exitCode, error } = await bench.run(toImport(workspace.path("bad.qcow2")));
    expect({ exitCode, error }).toMatchObject({ exitCode: 1, error: expect.stringContaining(reason) });
    expect(await volumeIds()).toEqual([]);
  });

  test("refuses other formats, folders, what lies in a pool, and a size below the image's", async () => {
    await writeFile(workspace.path("x.vmdk"), "KDMV and more");
    expect((await bench.run(toImport(workspace.path("x.vmdk")))).error).toContain("looks like vmdk");
    expect((await bench.run(toImport(workspace.path("targets")))).error).toContain("is not a file");
    expect((await bench.run(toImport(workspace.path("disk", "pool.json")))).error).toContain("lies in pool disk");
    await runRealCommand("mkfifo", [workspace.path("pipe")]);
    expect((await bench.run(toImport(workspace.path("pipe")))).error).toContain("is not a file");
    expect(await bench.run(toImport("/nowhere/x"))).toMatchObject({
      error: "ublk-csi: /nowhere/x does not exist: look how it is spelt",
    });
    const small = toImport(await makeRaw(), { sizeBytes: mebibyte });
    expect((await bench.run(small)).error).toContain("less than the source, which has 4194304");
    expect((await bench.run(toImport(await makeRaw(), { access: "mount" }))).error).toContain(
      "holds data of unknown kind, and a mount",
    );
    expect(await volumeIds()).toEqual([]);
  });

  test("refuses a name that a volume has, an image that does not fit, and pools that a driver has", async () => {
    const source = await makeRaw();
    await importVolume(source);
    expect((await bench.run(toImport(source))).error).toContain('volume "a" exists: give another --name');
    const large = toImport(source, { name: "b", poolName: "memory", sizeBytes: 65n * mebibyte });
    expect((await bench.run(large)).error).toContain("pool memory has 67108864 bytes available");
    const lock = await acquireFileLock(workspace.path("disk", "lock"), { what: "it" });
    expect((await bench.run(toImport(source, { name: "b" }))).error).toMatch(/pool .*disk is in use by process/);
    await lock.release();
    expect(await volumeIds()).toHaveLength(1);
  });

  test("that fails, or is ended, leaves nothing", async () => {
    const source = await makeRaw();
    const stopped = new AbortController();
    bench.parts.signal = stopped.signal;
    workspace.runCommand = async (program, args, options) => {
      stopped.abort();
      return await runRealCommand(program, args, options);
    };
    expect((await bench.run(toImport(source))).exitCode).toBe(1);
    expect(await volumeIds()).toEqual([]);
  });

  test("of a file that is written to meanwhile is refused", async () => {
    const source = await makeRaw();
    workspace.runCommand = async (program, args, options) => {
      await writeFile(source, "new");
      return await runRealCommand(program, args, options);
    };
    expect((await bench.run(toImport(source))).error).toContain("was written to while it was read");
    expect(await volumeIds()).toEqual([]);
  });

  test("of qcow2 without qemu-img says what to install, and raw needs none", async () => {
    const raw = await makeRaw();
    const qcow2 = await makeQcow2(raw);
    workspace.runCommand = async (program, args, options) => {
      if (program !== "qemu-img") return await runRealCommand(program, args, options);
      throw new CommandError("qemu-img", "program not found, install qemu-img", {});
    };
    expect((await bench.run(toImport(qcow2))).error).toContain("install qemu-utils, or use a raw image");
    expect((await bench.run(toImport(raw))).exitCode).toBe(0);
  });
});

describe("pool export", () => {
  test.each(["raw", "qcow2"] as const)("gives back as %s what was imported, byte by byte", async (format) => {
    const source = await makeRaw();
    const id = await importVolume(source);
    const target = workspace.path("targets", "out.img");
    expect(await bench.run(toExport(id, target, format))).toMatchObject({
      exitCode: 0,
      text: `volume ${id}: ${size} bytes to ${target} as ${format}\n`,
    });
    await runRealCommand("qemu-img", ["compare", "-f", format, "-F", "raw", target, source]);
    expect(await readdir(workspace.path("targets"))).toEqual(["out.img"]);
    expect((await stat(target)).mode & 0o777).toBe(0o600);
    expect((await stat(target)).blocks * 512).toBeLessThan(size / 2);
  });

  test("of a volume with a device, or beside a driver, is refused; of its snapshot it is not", async () => {
    const id = await importVolume(await makeRaw());
    const snapshot = await workspace.snapshotter.create({ name: "s", sourceVolumeId: id, parameters: {} });
    const target = workspace.path("targets", "out.img");
    await mkdir(workspace.path("engine", "devices"), { recursive: true });
    await writeFile(workspace.path("engine", "devices", `${id}.json`), "{");
    expect((await bench.run(toExport(id, target))).error).toContain("has a device, and could change while it is read");
    const lock = await acquireFileLock(workspace.path("lock"), { what: "it" });
    expect((await bench.run(toExport(id, target))).error).toContain("is in use by process");
    expect(await readdir(workspace.path("targets"))).toEqual([]);
    expect((await bench.run(toExport(snapshot.id, target))).exitCode).toBe(0);
    await lock.release();
    expect((await readFile(target)).equals(await readFile(imageOf(id)))).toBe(true);
  });

  test("refuses a file that exists, a place in the pool, and what is unknown or damaged", async () => {
    const id = await importVolume(await makeRaw());
    await writeFile(workspace.path("targets", "old"), "precious");
    expect((await bench.run(toExport(id, workspace.path("targets", "old")))).error).toContain(
      "exists: choose the name",
    );
    expect(await readFile(workspace.path("targets", "old"), "utf8")).toBe("precious");
    expect((await bench.run(toExport(id, workspace.path("disk", "x")))).error).toContain("lies in pool disk");
    expect((await bench.run(toExport("x", workspace.path("targets", "x")))).error).toContain(
      "no pool has a volume or snapshot x",
    );
    expect((await bench.run(toExport(id, "/nowhere/x"))).error).toContain("/nowhere does not exist");
    await writeFile(workspace.path("disk", "volumes", id, "volume.json"), "{");
    expect((await bench.run(toExport(id, workspace.path("targets", "x")))).error).toContain("cannot be exported");
  });

  test("refuses a place in any other pool, also in one whose disk is not mounted", async () => {
    const id = await importVolume(await makeRaw());
    await addPool("other");
    for (const folder of [workspace.path("memory", "memory", "volumes"), workspace.path("other")]) {
      const { exitCode, error } = await bench.run(toExport(id, `${folder}/stray`));
      expect({ exitCode, error }).toMatchObject({ exitCode: 1, error: expect.stringContaining("lies in pool") });
      expect(await readdir(folder)).not.toContain("stray");
    }
    await rm(workspace.path("other", "pool.json"));
    expect((await bench.run(toExport(id, workspace.path("other", "stray")))).error).toContain("lies in pool other");
  });

  test("refuses the disk of another pool when that has no room which no volume was promised", async () => {
    const id = await importVolume(await makeRaw(), { poolName: "memory" });
    const target = workspace.path("targets", "out.img");
    await addPool("other", { reserve: { bytes: 2n ** 60n } });
    const { exitCode, error } = await bench.run(toExport(id, target));
    expect({ exitCode, error }).toMatchObject({
      exitCode: 1,
      error: expect.stringContaining("lies on the disk of pool other, which has 0 bytes that no volume was promised"),
    });
    bench.morePools = [];
    expect((await bench.run(toExport(id, target))).exitCode).toBe(0);
  });

  test("that fails leaves no file, and takes away what one that was killed left", async () => {
    const id = await importVolume(await makeRaw());
    await writeFile(workspace.path("targets", `.out.img.${id}.part`), "half");
    workspace.runCommand = () => Promise.reject(new CommandError("cp", "no space", {}));
    expect((await bench.run(toExport(id, workspace.path("targets", "out.img")))).exitCode).toBe(1);
    expect(await readdir(workspace.path("targets"))).toEqual([]);
  });
});
