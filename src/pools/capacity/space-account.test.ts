import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { parseMountInfo } from "../../system/mountinfo.js";
import { blockCapability, mebibyte, rejectionOf, Workspace } from "../../testing/workspace.js";
import type { FilePoolRequest } from "../pool/open-pools.js";
import type { Pool } from "../pool/pool.js";
import type { Volume } from "../volume/volume.js";
import { SpaceAccounts } from "./space-accounts.js";

let workspace: Workspace;

beforeEach(async () => {
  workspace = await Workspace.create();
});
afterEach(() => workspace.remove());

describe("two pools on one file system", () => {
  let wantedBytes: bigint;

  beforeEach(async () => {
    await workspace.makeDirectory("second");
    await reopen();
    const freeBytes = await pool("disk").readAvailableBytes("thin");
    wantedBytes = ((freeBytes * 3n) / 4n / mebibyte) * mebibyte;
  });

  const pool = (name: string) => workspace.pools.find(name) as Pool;

  async function reopen(settings: FilePoolRequest["settings"] = {}): Promise<void> {
    await workspace.reopen([
      ...workspace.poolRequests,
      { kind: "file", name: "second", directory: workspace.path("second"), settings },
    ]);
  }

  /** A thin volume of most of what the disk has free. */
  function create(name: string): Promise<Volume> {
    const range = { requiredBytes: wantedBytes };
    const parameters = { pool: name, provisioning: "thin" };
    return workspace.provisioner.create({ name: `in ${name}`, range, capabilities: [blockCapability], parameters });
  }

  test("promise what is free there once", async () => {
    await create("disk");
    expect(await pool("second").readAvailableBytes("thin")).toBeLessThan(wantedBytes / 2n);
    expect(await pool("second").estimateAvailableBytes("thin")).toBeLessThan(wantedBytes / 2n);
    expect(await rejectionOf(create("second"))).toMatchObject({ code: "no_space", message: /^pool second has/ });
    await reopen();
    expect(await rejectionOf(create("second"))).toMatchObject({ code: "no_space" });
    await workspace.provisioner.delete(workspace.pools.findVolumeByName("in disk")?.id ?? "");
    await create("second");
  });

  test("promise it once to requests of the same moment, too", async () => {
    const outcomes = await Promise.allSettled([create("disk"), create("second")]);
    expect(outcomes.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
  });

  test("may have to give what volumes of both have not written", async () => {
    await create("disk");
    for (const name of ["disk", "second"]) expect(await pool(name).readDemandBytes()).toBe(wantedBytes);
  });

  test("have each a reserve and a book of their own", async () => {
    await create("disk");
    expect(pool("second").ledger.reservedBytes).toBe(0n);
    await reopen({ reserve: { percent: 100 } });
    expect(await pool("second").readAvailableBytes()).toBe(0n);
    expect(await pool("disk").readAvailableBytes()).toBeGreaterThan(0n);
  });

  test.each([
    [2, ["startCopy"]],
    [1, []],
  ])("give a thick clone blocks of its own where the other is over-committed %d times", async (overcommit, calls) => {
    await reopen({ overcommit });
    const request = { name: "source", capabilities: [blockCapability], parameters: { provisioning: "thick" } };
    const { id: volumeId } = await workspace.provisioner.create({ ...request, range: { requiredBytes: mebibyte } });
    const contentSource = { kind: "volume" as const, volumeId };
    await workspace.provisioner.create({ ...request, name: "clone", range: undefined, contentSource });
    const copies = workspace.blockDevices.calls.filter((call) => call.startsWith("startCopy"));
    expect(copies).toEqual(calls.map((call) => `${call} ${volumeId}`));
  });

  test("leave a memory pool what it has", async () => {
    await create("disk");
    expect(await pool("memory").readAvailableBytes()).toBe(64n * mebibyte);
  });
});

describe("an account", () => {
  const mounts = parseMountInfo(
    [
      "1 0 8:1 / / rw - ext4 /dev/sda1 rw",
      "2 1 0:50 /a /data/a rw - btrfs /dev/sdb rw,subvol=/a",
      "3 1 0:50 /b /data/b rw - btrfs /dev/sdb rw,subvol=/b",
    ].join("\n"),
  );

  test("is that of all that lies on a file system, on subvolumes of a btrfs as well", async () => {
    const accounts = new SpaceAccounts(async () => mounts);
    const [ofA, ofB, ofRoot, other] = [
      await accounts.find("/data/a/pool"),
      await accounts.find("/data/b/pool"),
      await accounts.find("/var/pool"),
      await accounts.find("/data"),
    ];
    expect(ofA).toBe(ofB);
    expect(ofRoot).toBe(other);
    expect(ofA).not.toBe(ofRoot);
  });

  test("is found where no mount is to be seen", async () => {
    const accounts = new SpaceAccounts(async () => []);
    expect(await accounts.find(workspace.path("disk"))).toBe(await accounts.find(workspace.path("targets")));
    expect(await accounts.find(workspace.path("disk"))).not.toBe(await accounts.find("/proc"));
  });
});
