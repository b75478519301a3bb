import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { readMachineState, waitUntilNothingIsLeft } from "./support/machine-state.js";
import { runCommand } from "./support/run-command.js";
import { byScale } from "./support/scale.js";
import { TestBed } from "./support/test-bed.js";
import type { TestVolume } from "./support/test-volume.js";

const mebibyte = 1024 ** 2;
const volumeCount = byScale({ full: 50, smoke: 8 });
/** As many calls at a time as kubelet and the sidecars together make. */
const callsAtATime = 4;

let bed: TestBed;

beforeAll(async () => {
  bed = await TestBed.start("many");
});
afterAll(async () => await bed.dispose());

async function forEach(
  volumes: readonly TestVolume[],
  action: (volume: TestVolume) => Promise<unknown>,
): Promise<void> {
  const rest = [...volumes];
  const work = async () => {
    for (let volume = rest.shift(); volume !== undefined; volume = rest.shift()) await action(volume);
  };
  await Promise.all(Array.from({ length: callsAtATime }, work));
}

const content = ({ wish, id }: TestVolume) => `this is ${wish.name}, known as ${id}`;

test(`${volumeCount} volumes at once: each has a device and its own bytes, and all of them go`, async () => {
  const before = await readMachineState();
  const volumes = Array.from({ length: volumeCount }, (_, index) =>
    bed.volume({
      name: `many-${index}`,
      sizeBytes: 16 * mebibyte,
      access: { kind: "mount", fsType: "ext4" },
      parameters: { queueDepth: "32", pool: index % 5 === 0 ? "memory" : "disk" },
    }),
  );
  await forEach(volumes, (volume) => volume.start());
  const deviceIds = await Promise.all(volumes.map((volume) => volume.findDeviceId()));
  expect(new Set(deviceIds).size).toBe(volumeCount);
  await forEach(volumes, (volume) => writeFile(join(volume.targetPath, "who"), content(volume)));
  await runCommand("sync", []);
  await runCommand("sysctl", ["-q", "vm.drop_caches=3"]);
  await forEach(volumes, async (volume) => {
    expect(await readFile(join(volume.targetPath, "who"), "utf8")).toBe(content(volume));
  });
  await forEach(volumes, (volume) => volume.finish());
  await waitUntilNothingIsLeft(before);
}, 600_000);
