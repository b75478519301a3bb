import { mkdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { status as Code } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { ControllerService, ListVolumesRequest } from "../../../src/gen/csi/csi.js";
import { DriverProcess, type DriverSettings } from "./support/driver-process.js";
import { TestBed } from "./support/test-bed.js";

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

/** The last line is for whoever started the driver by hand; it must not be a stack trace. */
function lastLine(output: string): string {
  return output.trimEnd().split("\n").at(-1) ?? "";
}

describe("a second driver is refused, and the first goes on", () => {
  test("in the same state directory", async () => {
    const { exitCode, output } = await startSecond({ stateDir: bed.stateDir });
    expect(exitCode).toBe(1);
    expect(lastLine(output)).toContain(`state directory ${bed.stateDir} is in use by process ${bed.driver.pid}`);
    expect(await listVolumeIds()).toEqual([]);
  });

  test("on the same socket", async () => {
    const { socketPath } = bed.driver.client;
    const { exitCode, output } = await startSecond({ socketPath });
    expect(exitCode).toBe(1);
    expect(lastLine(output)).toBe(
      `ublk-csi: another process serves ${socketPath}: stop it, or choose another --endpoint`,
    );
    expect(await listVolumeIds()).toEqual([]);
  });

  test("on the same pool", async () => {
    const { exitCode, output } = await startSecond({ pools: { second: bed.poolPath } });
    expect(exitCode).toBe(1);
    expect(lastLine(output)).toContain(`pool ${bed.poolPath} is in use by process ${bed.driver.pid}`);
    expect(await listVolumeIds()).toEqual([]);
  });
});

describe("the socket's path", () => {
  test("with a file in the way is refused, and the file stays", async () => {
    const socketPath = "/run/ublk-csi-test/precious";
    await writeFile(socketPath, "precious");
    const { exitCode, output } = await startSecond({ socketPath });
    expect(exitCode).toBe(1);
    expect(lastLine(output)).toContain(`${socketPath} exists and is not a socket`);
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
    const { exitCode, output } = await startSecond({ pools: { lost: "/run/ublk-csi-test/no-such-disk" } });
    expect(exitCode).toBe(1);
    expect(lastLine(output)).toContain("/run/ublk-csi-test/no-such-disk does not exist");
  });

  test("inside another pool is refused", async () => {
    const { exitCode, output } = await startSecond({ pools: { child: join(bed.poolPath, "volumes") } });
    expect(exitCode).toBe(1);
    expect(lastLine(output)).toContain(`lies inside the pool at ${bed.poolPath}`);
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
  ];

  test.each(damages)(
    "$what: that volume is refused with the reason, and no other",
    async ({ what, damage, reason }) => {
      const name = what.replaceAll(" ", "-");
      const good = bed.volume({ name: `good-${name}`, sizeBytes: mebibyte, access: block });
      const bad = bed.volume({ name: `bad-${name}`, sizeBytes: mebibyte, access: block });
      await good.create();
      await bad.create();
      await bed.driver.terminate();
      const path = join(bed.poolPath, "volumes", bad.id, "volume.json");
      const intact = await readFile(path, "utf8");
      await writeFile(path, damage(intact));
      await bed.restart();
      await expect(bad.stage()).rejects.toMatchObject({ details: expect.stringContaining(reason) });
      await expect(bad.delete()).rejects.toMatchObject({ code: Code.FAILED_PRECONDITION });
      expect(await readFile(path, "utf8")).toBe(damage(intact));
      expect(await listVolumeIds()).toEqual([good.id]);
      await good.start();
      await good.finish();
      await bed.driver.terminate();
      await writeFile(path, intact);
      await bed.restart();
      await bad.start();
      await bad.finish();
    },
    300_000,
  );

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
