import { chmod, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { status } from "@grpc/grpc-js";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { TestBed } from "./support/test-bed.js";
import { waitFor } from "./support/wait-for.js";

const mebibyte = 1024 ** 2;

let bed: TestBed;
/** Programs that the driver finds before those of the system. */
let programs: string;

beforeAll(async () => {
  programs = await mkdtemp(join(tmpdir(), "csi-stop-"));
  bed = await TestBed.start("stop", { environment: { PATH: `${programs}:${process.env.PATH}` } });
});
afterAll(async () => {
  await bed.dispose();
  await rm(programs, { recursive: true });
});

test("a driver whose work hangs after the deadline of its call ends, and the next one does it anew", async () => {
  const volume = bed.volume({ name: "data", sizeBytes: 64 * mebibyte, access: { kind: "block" } });
  const pidPath = join(programs, "pid");
  const fallocate = join(programs, "fallocate");
  await writeFile(fallocate, ["#!/bin/sh", `echo $$ >${pidPath}`, "exec sleep 1000000", ""].join("\n"));
  await chmod(fallocate, 0o755);
  await expect(volume.create(5_000)).rejects.toMatchObject({ code: status.DEADLINE_EXCEEDED });
  const pid = await waitFor(
    "the work hangs",
    async () => Number(await readFile(pidPath, "utf8").catch(() => "")) || false,
  );
  expect(await bed.driver.terminate()).toBe(0);
  expect(await readFile(bed.driver.logPath, "utf8")).toContain("ending with work under way");
  process.kill(pid, "SIGKILL"); // as the end of the driver's container does
  await rm(fallocate);
  await bed.restart();
  await volume.create();
  expect(await readdir(join(bed.poolPath, "volumes"))).toEqual([volume.id]);
});
