import { readdir, readFile, rename, rm, stat, truncate, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { CommandError } from "../../system/command.js";
import { gibibyte, mebibyte, mountCapability, rejectionOf, Workspace } from "../../testing/workspace.js";
import type { Volume } from "../volume/volume.js";
import { openPools } from "./open-pools.js";

let workspace: Workspace;

beforeEach(async () => {
  workspace = await Workspace.create();
});

afterEach(() => workspace.remove());

const sizeBytes = 2n * mebibyte;

function create(name: string, parameters: Record<string, string> = {}): Promise<Volume> {
  const capabilities = [mountCapability];
  return workspace.provisioner.create({ name, range: { requiredBytes: sizeBytes }, capabilities, parameters });
}

function filesOf(id: string): Promise<string[]> {
  return readdir(workspace.path("disk", "volumes", id));
}

describe("a volume on disk", () => {
  test("is a record and an image of exactly its size, in a directory of its id", async () => {
    const { id } = await create("data");
    expect((await filesOf(id)).sort()).toEqual(["image", "volume.json"]);
    const record = JSON.parse(await readFile(workspace.path("disk", "volumes", id, "volume.json"), "utf8"));
    expect(record).toMatchObject({ formatVersion: 1, id, name: "data", sizeBytes: "2097152", pool: "disk" });
    expect((await stat(workspace.path("disk", "volumes", id, "image"))).size).toBe(Number(sizeBytes));
  });

  test("is fully allocated when thick and sparse when thin", async () => {
    const [thick, thin] = [await create("thick"), await create("thin", { provisioning: "thin" })];
    const blocksOf = async ({ id }: Volume) => (await stat(workspace.path("disk", "volumes", id, "image"))).blocks;
    expect(await blocksOf(thick)).toBeGreaterThanOrEqual(4096);
    expect(await blocksOf(thin)).toBe(0);
  });

  test("is the same after a restart", async () => {
    const volume = await create("data", { queues: "2" });
    await workspace.reopen();
    expect(workspace.pools.getVolume(volume.id)).toEqual(volume);
    expect(workspace.pools.findVolumeByName("data")?.id).toBe(volume.id);
  });

  test("keeps what it was made from over a restart", async () => {
    const { id } = await create("data");
    const path = workspace.path("disk", "volumes", id, "volume.json");
    const contentSource = { kind: "snapshot", snapshotId: "3f0d1c7e-snapshot" };
    await writeFile(path, JSON.stringify({ ...JSON.parse(await readFile(path, "utf8")), contentSource }));
    await workspace.reopen();
    expect(workspace.pools.getVolume(id).contentSource).toEqual(contentSource);
  });

  test("leaves nothing when it is deleted, and gives its bytes back", async () => {
    const before = await workspace.readAvailableBytes({ pool: "memory" });
    const { id } = await create("data", { pool: "memory" });
    expect(await workspace.readAvailableBytes({ pool: "memory" })).toBe(before - sizeBytes);
    await workspace.provisioner.delete(id);
    expect(await readdir(workspace.path("memory", "memory", "volumes"))).toEqual([]);
    expect(await workspace.readAvailableBytes({ pool: "memory" })).toBe(before);
  });
});

describe("a creation that fails", () => {
  const full = new CommandError("fallocate", "exit code 1", {
    exitCode: 1,
    stderr: "fallocate: No space left on device",
  });

  test("for lack of space leaves nothing behind and says so", async () => {
    workspace.runCommand = () => Promise.reject(full);
    const error = await rejectionOf(create("data"));
    expect(error).toMatchObject({ code: "no_space", message: "pool disk is full: 2097152 bytes do not fit" });
    expect(await readdir(workspace.path("disk", "volumes"))).toEqual([]);
    expect(workspace.pools.find("disk")?.ledger.reservedBytes).toBe(0n);
  });

  test("when the record cannot be written leaves nothing behind", async () => {
    workspace.runCommand = async (_program, args) => {
      await rm(dirname(args.at(-1) ?? ""), { recursive: true });
      return { stdout: "", stderr: "" };
    };
    expect(await rejectionOf(create("data"))).toMatchObject({ code: "ENOENT" });
    expect(await readdir(workspace.path("disk", "volumes"))).toEqual([]);
    expect(workspace.pools.listVolumes()).toEqual([]);
    expect(workspace.pools.find("disk")?.ledger.reservedBytes).toBe(0n);
  });

  test("because the pool has no room is refused before anything is made", async () => {
    const parameters = { pool: "memory" };
    const range = { requiredBytes: gibibyte };
    const request = { name: "big", range, capabilities: [mountCapability], parameters };
    const error = await rejectionOf(workspace.provisioner.create(request));
    expect(error.message).toBe("pool memory has 67108864 bytes available, 1073741824 were asked for");
    expect(await readdir(workspace.path("memory", "memory", "volumes"))).toEqual([]);
  });

  test("on a file system without preallocation names the way out", async () => {
    const stderr = "fallocate: fallocate failed: Operation not supported";
    workspace.runCommand = () => Promise.reject(new CommandError("fallocate", "exit code 1", { exitCode: 1, stderr }));
    expect(await rejectionOf(create("data"))).toMatchObject({ code: "refused", message: /use provisioning "thin"/ });
  });
});

describe("thin volumes", () => {
  test("are booked in full, so that no later volume is promised their bytes", async () => {
    await create("thin", { pool: "memory", provisioning: "thin" });
    expect(await workspace.readAvailableBytes({ pool: "memory" })).toBe(62n * mebibyte);
  });
});

describe("after a crash", () => {
  test("an image that was never finished is removed, and its bytes come back", async () => {
    await workspace.makeDirectory("disk", "volumes", "orphan-1");
    await writeFile(workspace.path("disk", "volumes", "orphan-1", "unfinished"), "");
    await writeFile(workspace.path("disk", "volumes", "orphan-1", "image"), "x".repeat(4096));
    await writeFile(workspace.path("disk", "volumes", "orphan-1", "volume.json.tmp"), "{");
    await workspace.reopen();
    await workspace.pools.collectOrphans(new Set());
    expect(await readdir(workspace.path("disk", "volumes"))).toEqual([]);
    expect(workspace.pools.find("disk")?.ledger.reservedBytes).toBe(0n);
  });

  test("an image whose record was lost is kept, booked, and an error for whoever asks", async () => {
    const { id } = await create("data");
    await rm(workspace.path("disk", "volumes", id, "volume.json"));
    await workspace.reopen();
    await workspace.pools.collectOrphans(new Set());
    expect(await filesOf(id)).toEqual(["image"]);
    expect(workspace.pools.find("disk")?.ledger.reservedBytes).toBe(sizeBytes);
    const error = await rejectionOf(workspace.provisioner.delete(id));
    expect(error).toMatchObject({
      code: "refused",
      message: /volume\.json is missing and its image is there: restore/,
    });
  });

  test("a deletion is finished that was interrupted before the image went", async () => {
    const { id } = await create("data");
    await rename(
      workspace.path("disk", "volumes", id, "volume.json"),
      workspace.path("disk", "volumes", id, "unfinished"),
    );
    await workspace.reopen();
    await workspace.pools.collectOrphans(new Set());
    expect(await readdir(workspace.path("disk", "volumes"))).toEqual([]);
  });

  test("a volume that was finished is one, though the mark of its making is still there, and loses that", async () => {
    const volume = await create("data");
    await writeFile(workspace.path("disk", "volumes", volume.id, "unfinished"), "");
    await workspace.reopen();
    await workspace.pools.collectOrphans(new Set());
    expect(workspace.pools.getVolume(volume.id)).toEqual(volume);
    expect((await filesOf(volume.id)).sort()).toEqual(["image", "volume.json"]);
  });

  test("an unfinished volume stays while a device serves it", async () => {
    await workspace.makeDirectory("disk", "volumes", "orphan-1");
    await workspace.reopen();
    await workspace.pools.collectOrphans(new Set(["orphan-1"]));
    expect(await readdir(workspace.path("disk", "volumes"))).toEqual(["orphan-1"]);
  });

  test("an orphan with a file that is not ours keeps that file", async () => {
    await workspace.makeDirectory("disk", "volumes", "orphan-1");
    await writeFile(workspace.path("disk", "volumes", "orphan-1", "notes"), "mine");
    await workspace.reopen();
    await workspace.pools.collectOrphans(new Set());
    expect(await readdir(workspace.path("disk", "volumes", "orphan-1"))).toEqual(["notes"]);
  });

  test("a deletion that was interrupted after the record can be finished", async () => {
    const { id } = await create("data");
    await rm(workspace.path("disk", "volumes", id, "volume.json"));
    await workspace.provisioner.delete(id);
    expect(await readdir(workspace.path("disk", "volumes"))).toEqual([]);
  });
});

describe("a record that cannot be used", () => {
  async function spoil(content: string): Promise<{ bad: Volume; good: Volume }> {
    const [bad, good] = [await create("bad"), await create("good")];
    await writeFile(workspace.path("disk", "volumes", bad.id, "volume.json"), content);
    await workspace.reopen();
    return { bad, good };
  }

  test.each([
    ["is not JSON", "{", /volume\.json is not a valid volume record/],
    ["is empty", "", /volume\.json is not a valid volume record/],
    ["has no version", "{}", /formatVersion is missing/],
    ["lacks fields", '{"formatVersion":1}', /not a valid volume record .*name/],
    [
      "is of a newer format",
      '{"formatVersion":2}',
      /has format version 2, this ublk-csi reads up to 1: upgrade ublk-csi/,
    ],
  ])("because it %s is reported, kept, and does not take the others down", async (_case, content, text) => {
    const { bad, good } = await spoil(content);
    expect(workspace.pools.listVolumes().map((volume) => volume.id)).toEqual([good.id]);
    expect(() => workspace.pools.getVolume(bad.id)).toThrow(expect.objectContaining({ code: "refused" }));
    expect(() => workspace.pools.getVolume(bad.id)).toThrow(text);
    expect(await rejectionOf(workspace.provisioner.delete(bad.id))).toMatchObject({ code: "refused" });
    await workspace.pools.collectOrphans(new Set());
    expect((await filesOf(bad.id)).sort()).toEqual(["image", "volume.json"]);
  });

  test("keeps its space booked", async () => {
    await spoil("{");
    expect(workspace.pools.find("disk")?.ledger.reservedBytes).toBe(2n * sizeBytes);
  });

  test("because it names another volume is not believed", async () => {
    const [bad, good] = [await create("bad"), await create("good")];
    const record = await readFile(workspace.path("disk", "volumes", good.id, "volume.json"));
    await writeFile(workspace.path("disk", "volumes", bad.id, "volume.json"), record);
    await workspace.reopen();
    expect(() => workspace.pools.getVolume(bad.id)).toThrow(`names volume ${good.id}`);
    expect(workspace.pools.getVolume(good.id)).toEqual(good);
  });

  test("because its image has another size is not served", async () => {
    const { id } = await create("data");
    await truncate(workspace.path("disk", "volumes", id, "image"), 4096);
    await workspace.reopen();
    expect(() => workspace.pools.getVolume(id)).toThrow("has 4096 bytes, the volume has 2097152");
  });
});

describe("opening pools", () => {
  const open = (...requests: Array<[string, string]>) =>
    openPools(
      requests.map(([name, directory]) => ({ kind: "file", name, directory })),
      workspace.poolDependencies,
    );

  test("refuses a directory that does not exist, and does not make it", async () => {
    const error = await rejectionOf(open(["new", workspace.path("nowhere")]));
    expect(error.message).toMatch(/pool new: directory .*nowhere does not exist: create it, or mount the disk/);
    expect(await readdir(workspace.directory)).not.toContain("nowhere");
  });

  test("refuses a file", async () => {
    await writeFile(workspace.path("file"), "");
    expect((await rejectionOf(open(["new", workspace.path("file")]))).message).toMatch(/file is not a directory/);
  });

  test("refuses a pool inside another, also through a link and when the outer one is not named", async () => {
    const inner = await workspace.makeDirectory("disk", "inner");
    expect((await rejectionOf(open(["inner", inner]))).message).toMatch(/lies inside the pool at .*disk/);
  });

  test("refuses a pool that turns out to hold another", async () => {
    const outer = await workspace.makeDirectory("outer");
    const inner = await workspace.makeDirectory("outer", "inner");
    const error = await rejectionOf(open(["inner", inner], ["outer", outer]));
    expect(error.message).toMatch(/of the pools inner and outer one lies inside the other/);
  });

  test("refuses the same pool under two names", async () => {
    const directory = workspace.path("disk");
    expect((await rejectionOf(open(["disk", directory], ["other", directory]))).message).toMatch(/are the same pool/);
  });

  test("refuses an empty directory where the name stood for a pool, such as a disk that is not mounted", async () => {
    await create("data");
    await rm(workspace.path("disk"), { recursive: true });
    await workspace.makeDirectory("disk");
    const error = await rejectionOf(workspace.reopen());
    expect(error.message).toMatch(/holds no pool, but this name stood for another pool before: mount its disk/);
    expect(await readdir(workspace.path("disk"))).toEqual([]);
  });

  test("refuses volumes without a pool record", async () => {
    const directory = await workspace.makeDirectory("damaged");
    await workspace.makeDirectory("damaged", "volumes");
    expect((await rejectionOf(open(["damaged", directory]))).message).toMatch(/has volumes but no pool\.json/);
  });

  test("refuses a pool of a newer format with what to do", async () => {
    await writeFile(workspace.path("disk", "pool.json"), '{"formatVersion":7}');
    expect((await rejectionOf(workspace.reopen())).message).toMatch(/format version 7.*upgrade ublk-csi/);
  });

  test("names the pool when a system call fails, such as on a full disk", async () => {
    const full = Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" });
    const dependencies = { ...workspace.poolDependencies, lockPool: () => Promise.reject(full) };
    const error = await rejectionOf(openPools(workspace.poolRequests, dependencies));
    expect(error.message).toBe(`pool disk at ${workspace.path("disk")} cannot be opened: ${full.message}`);
  });

  test("refuses to run without a pool", async () => {
    expect((await rejectionOf(open())).message).toMatch(/no pool: give --pool/);
  });

  test("ignores what is not a volume", async () => {
    await writeFile(workspace.path("disk", "volumes", "README"), "");
    await workspace.makeDirectory("disk", "volumes", "Not_An_Id");
    await workspace.reopen();
    await workspace.pools.collectOrphans(new Set());
    expect((await readdir(workspace.path("disk", "volumes"))).sort()).toEqual(["Not_An_Id", "README"]);
  });
});

test("health is lost when the pool's disk goes away", async () => {
  await expect(workspace.pools.checkHealth()).resolves.toBeUndefined();
  await rm(workspace.path("disk", "pool.json"));
  expect((await rejectionOf(workspace.pools.checkHealth())).message).toMatch(/pool disk is no longer at/);
});
