import { mkdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { status as Code } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { ControllerService, ListVolumesRequest } from "../../../src/gen/csi/csi.js";
import { DriverProcess, type DriverSettings } from "./support/driver-process.js";
import { TestBed } from "./support/test-bed.js";
import type { TestVolume } from "./support/test-volume.js";

const mebibyte = 1024 ** 2;
const block = { kind: "block" } as const;

let bed: TestBed;
let secondCount = 0;

beforeAll(async () => {
  bed = await TestBed.start("bad-input");
});
afterAll(async () => await bed.dispose());

/** A second driver, which has to refuse. Its directories are its own unless `settings` says otherwise. */
async function startSecond(settings: Partial<DriverSettings>) {
  const directory = `/run/ublk-csi-test/second-${++secondCount}`;
  const pool = join(directory, "pool");
  await mkdir(pool, { recursive: true });
  return await DriverProcess.runToExit({ directory, pools: { second: pool }, ...settings });
}

async function listVolumeIds(): Promise<(string | undefined)[]> {
  const response = await bed.driver.client.call(ControllerService.listVolumes, ListVolumesRequest.fromPartial({}));
  return response.entries.map(({ volume }) => volume?.volumeId);
}

describe("a second driver is refused, and the first goes on", () => {
  test("in the same state directory", async () => {
    const { exitCode, complaint } = await startSecond({ stateDir: bed.stateDir });
    expect(exitCode).toBe(1);
    expect(complaint).toContain(`state directory ${bed.stateDir} is in use by process ${bed.driver.pid}`);
    expect(await listVolumeIds()).toEqual([]);
  });

  test("on the same socket", async () => {
    const { socketPath } = bed.driver.client;
    const { exitCode, complaint } = await startSecond({ socketPath });
    expect(exitCode).toBe(1);
    expect(complaint).toBe(`another process serves ${socketPath}: stop it, or choose another --endpoint`);
    expect(await listVolumeIds()).toEqual([]);
  });

  test("on the same pool", async () => {
    const { exitCode, complaint } = await startSecond({ pools: { second: bed.poolPath } });
    expect(exitCode).toBe(1);
    expect(complaint).toContain(`pool ${bed.poolPath} is in use by process ${bed.driver.pid}`);
    expect(await listVolumeIds()).toEqual([]);
  });
});

describe("the socket's path", () => {
  test("with a file in the way is refused, and the file stays", async () => {
    const socketPath = "/run/ublk-csi-test/precious";
    await writeFile(socketPath, "precious");
    const { exitCode, complaint } = await startSecond({ socketPath });
    expect(exitCode).toBe(1);
    expect(complaint).toContain(`${socketPath} exists and is not a socket`);
    expect(await readFile(socketPath, "utf8")).toBe("precious");
  });

  test("with the socket of a process that died is taken over", async () => {
    await bed.driver.kill();
    expect((await stat(bed.driver.client.socketPath)).isSocket()).toBe(true);
    await bed.restart();
    expect(await listVolumeIds()).toEqual([]);
    expect((await stat(bed.driver.client.socketPath)).mode & 0o777).toBe(0o600);
  });
});

describe("a pool", () => {
  test("whose directory is missing is refused", async () => {
    const { exitCode, complaint } = await startSecond({ pools: { lost: "/run/ublk-csi-test/no-such-disk" } });
    expect(exitCode).toBe(1);
    expect(complaint).toContain("/run/ublk-csi-test/no-such-disk does not exist");
  });

  test("inside another pool is refused", async () => {
    const { exitCode, complaint } = await startSecond({ pools: { child: join(bed.poolPath, "volumes") } });
    expect(exitCode).toBe(1);
    expect(complaint).toContain(`lies inside the pool at ${bed.poolPath}`);
  });
});

describe("a record", () => {
  const damages = [
    { what: "cut short", damage: (text: string) => text.slice(0, 40), reason: "is not a valid volume record" },
    { what: "empty", damage: () => "", reason: "is not a valid volume record" },
    {
      what: "of a newer format",
      damage: (text: string) => text.replace(/"formatVersion": \d+/, '"formatVersion": 99'),
      reason: "has format version 99",
    },
  ].map((kind) => ({ ...kind, name: `bad-${kind.what.replaceAll(" ", "-")}`, intact: "" }));
  const volumes = new Map<string, TestVolume>();
  const recordPath = (name: string) => join(bed.poolPath, "volumes", get(name).id, "volume.json");

  function get(name: string): TestVolume {
    const known = volumes.get(name) ?? bed.volume({ name, sizeBytes: mebibyte, access: block });
    volumes.set(name, known);
    return known;
  }

  beforeAll(async () => {
    await get("good").create();
    for (const { name } of damages) await get(name).create();
    await bed.driver.terminate();
    for (const kind of damages) {
      kind.intact = await readFile(recordPath(kind.name), "utf8");
      await writeFile(recordPath(kind.name), kind.damage(kind.intact));
    }
    await bed.restart();
  });

  test.each(damages)("$what: its volume is refused with the reason, and nothing is touched", async (kind) => {
    const volume = get(kind.name);
    await expect(volume.stage()).rejects.toMatchObject({ details: expect.stringContaining(kind.reason) });
    await expect(volume.delete()).rejects.toMatchObject({ code: Code.FAILED_PRECONDITION });
    expect(await readFile(recordPath(kind.name), "utf8")).toBe(kind.damage(kind.intact));
  });

  test("beside bad ones: the volume works", async () => {
    expect(await listVolumeIds()).toEqual([get("good").id]);
    await get("good").start();
    await get("good").finish();
  });

  test("put back as it was: the volume works again", async () => {
    await bed.driver.terminate();
    for (const { name, intact } of damages) await writeFile(recordPath(name), intact);
    await bed.restart();
    for (const { name } of damages) {
      await get(name).start();
      await get(name).finish();
    }
  });

  test("of a device, cut short: the device in use is left alone, and its volume says why", async () => {
    const volume = bed.volume({ name: "journal", sizeBytes: 16 * mebibyte, access: block });
    await volume.start();
    await bed.driver.kill();
    const path = join(bed.stateDir, "engine/devices", `${volume.id}.json`);
    const intact = await readFile(path, "utf8");
    await writeFile(path, intact.slice(0, 40));
    await bed.restart();
    await expect(volume.stage()).rejects.toMatchObject({ details: expect.stringContaining(path) });
    expect(await readFile(path, "utf8")).toBe(intact.slice(0, 40));
    await bed.driver.terminate();
    await writeFile(path, intact);
    await bed.restart();
    await volume.finish();
  }, 300_000);
});
