import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { mebibyte, mountCapability, rejectionOf, Workspace } from "../../testing/workspace.js";
import type { PoolSettings } from "../capacity/pool-settings.js";
import type { Provisioning, Volume } from "../volume/volume.js";

let workspace: Workspace;

beforeEach(async () => {
  workspace = await Workspace.create();
});

afterEach(() => workspace.remove());

async function useSettings(settings: Partial<PoolSettings>): Promise<void> {
  workspace.memorySettings = settings;
  await workspace.reopen();
}

function create(provisioning: Provisioning, sizeBytes: bigint): Promise<Volume> {
  const parameters = { pool: "memory", provisioning };
  const range = { requiredBytes: sizeBytes };
  const name = `${provisioning}-${sizeBytes}`;
  return workspace.provisioner.create({ name, range, capabilities: [mountCapability], parameters });
}

async function readAvailable(): Promise<Record<Provisioning, bigint>> {
  const read = (provisioning: string) => workspace.readAvailableBytes({ pool: "memory", provisioning });
  return { thick: await read("thick"), thin: await read("thin") };
}

describe("a pool that is over-committed three times", () => {
  beforeEach(() => useSettings({ overcommit: 3 }));

  test("offers thin volumes three times what it offers thick ones", async () => {
    expect(await readAvailable()).toEqual({ thick: 64n * mebibyte, thin: 192n * mebibyte });
  });

  test("takes as many thin volumes as it offers, and not one more", async () => {
    await create("thin", 99n * mebibyte);
    await create("thin", 93n * mebibyte);
    expect(await readAvailable()).toEqual({ thick: 0n, thin: 0n });
    expect(await rejectionOf(create("thin", mebibyte))).toMatchObject({ code: "no_space" });
  });

  test("books thick volumes in full", async () => {
    await create("thick", 34n * mebibyte);
    expect(await readAvailable()).toEqual({ thick: 30n * mebibyte, thin: 90n * mebibyte });
  });

  test("has the same room after a restart", async () => {
    await create("thin", 99n * mebibyte);
    await create("thick", 4n * mebibyte);
    const before = await readAvailable();
    await workspace.reopen();
    expect(await readAvailable()).toEqual(before);
  });
});

test("a ratio that an administrator lowers later makes the pool full, not wrong", async () => {
  await useSettings({ overcommit: 3 });
  const { id } = await create("thin", 150n * mebibyte);
  await useSettings({ overcommit: 1 });
  expect(await readAvailable()).toEqual({ thick: 0n, thin: 0n });
  expect(workspace.pools.getVolume(id).sizeBytes).toBe(150n * mebibyte);
});

describe("a reserve", () => {
  test.each<[string, PoolSettings["reserve"]]>([
    ["in bytes", { bytes: 16n * mebibyte }],
    ["as a part of the pool", { percent: 25 }],
  ])("%s is not handed out", async (_case, reserve) => {
    await useSettings({ reserve });
    expect((await readAvailable()).thick).toBe(48n * mebibyte);
    expect(await rejectionOf(create("thick", 49n * mebibyte))).toMatchObject({
      code: "no_space",
      message: expect.stringContaining("50331648 bytes available, 51380224 were asked for"),
    });
    await create("thick", 48n * mebibyte);
  });

  test("larger than the pool leaves nothing rather than less than nothing", async () => {
    await useSettings({ reserve: { bytes: 65n * mebibyte } });
    expect((await readAvailable()).thick).toBe(0n);
  });
});
