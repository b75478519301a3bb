import { rename, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { deviceStates } from "../../ublk/testing/fake-kernel.js";
import { FakeNode, toSpec } from "../testing/fake-node.js";
import type { UblkBlockDevices } from "../ublk-block-devices.js";
import { formatPlan } from "./reconciliation-plan.js";

const mebibyte = 1 << 20;

let node: FakeNode;
let engine: UblkBlockDevices;

beforeEach(async () => {
  node = await FakeNode.create();
  engine = node.startEngine();
});

afterEach(async () => {
  await node.destroy();
});

const imagePath = (volumeId: string) => join(node.folder, volumeId);

async function attach(...volumeIds: string[]): Promise<void> {
  for (const volumeId of volumeIds) {
    await engine.attach(toSpec(volumeId, await node.createImage(volumeId, mebibyte), mebibyte));
  }
}

/** Ends the engine as a crash would; the next one has only looked. */
async function planAfterKill() {
  node.addon.kill();
  engine = node.startEngine();
  return await engine.plan();
}

describe("what a start would do", () => {
  test("is nothing on an empty node", async () => {
    expect(await engine.plan()).toEqual([]);
  });

  test("is said for every combination of journal, kernel and image, and for foreign devices, and changes nothing", async () => {
    await attach(
      "a-whole",
      "b-shrunk",
      "c-replaced",
      "d-missing",
      "e-dead",
      "f-gone",
      "g-taken",
      "h-corrupt",
      "i-newer",
    );
    const before = [...node.kernel.steps];
    node.addon.kill();
    await truncate(imagePath("b-shrunk"), mebibyte / 2);
    await writeFile(imagePath("other"), "");
    await truncate(imagePath("other"), mebibyte);
    await rename(imagePath("other"), imagePath("c-replaced"));
    await rename(imagePath("d-missing"), imagePath("elsewhere"));
    const devices = node.kernel.devices;
    Object.assign(devices.get(4) ?? {}, { state: deviceStates.dead });
    devices.delete(5);
    Object.assign(devices.get(6) ?? {}, { ownerTag: 42n });
    await writeFile(join(node.journalFolder, "h-corrupt.json"), "{");
    await writeFile(join(node.journalFolder, "i-newer.json"), '{"formatVersion": 99}');
    node.kernel.steps.length = 0;
    const rows = await node.startEngine().plan();
    const short = rows.map(({ volumeId, deviceId, kernel, action }) => [volumeId, deviceId, kernel, action]);
    expect(short).toEqual([
      ["a-whole", 0, "quiesced", "adopt"],
      ["b-shrunk", 1, "quiesced", "report"],
      ["c-replaced", 2, "quiesced", "report"],
      ["d-missing", 3, "quiesced", "report"],
      ["e-dead", 4, "dead", "remove"],
      ["f-gone", 5, "gone", "remove"],
      ["g-taken", 6, "gone", "remove"],
      ["h-corrupt", undefined, "?", "report"],
      ["i-newer", undefined, "?", "report"],
      [undefined, 6, "quiesced", "none"],
      [undefined, 7, "quiesced", "none"],
      [undefined, 8, "quiesced", "none"],
    ]);
    const reasons = [
      "it waits for a server",
      "b-shrunk has 524288 bytes, fewer than the device's 1048576: it was cut or never grown; the device waits and nothing",
      "c-replaced is another file than the device was made over (inode",
      "d-missing does not exist: is its pool mounted?; the device waits and nothing was touched",
      "the device was dead",
      "the kernel has no device 5 any more, as after a reboot",
      "device 6 belongs to somebody else now and was left alone",
      "h-corrupt.json is corrupt (",
      "i-newer.json has format 99, and this version reads up to 2: run the version that wrote it, or a later one",
      ...Array(3).fill("no entry of this journal has its tag: it is somebody else's"),
    ];
    expect(rows.map(({ reason }) => reason)).toEqual(reasons.map((reason) => expect.stringContaining(reason)));
    expect(node.kernel.steps.filter((step) => !step.startsWith("GET_"))).toEqual([]);
    expect(before).not.toEqual([]);
  });

  test("is what the start then does", async () => {
    await attach("one", "two");
    await rename(imagePath("two"), imagePath("elsewhere"));
    expect((await planAfterKill()).map(({ action }) => action)).toEqual(["adopt", "report"]);
    const { entries } = await engine.adopt();
    expect(entries.map(({ action }) => action)).toEqual(["adopted", "failed"]);
    const table = node.log.filter(({ message }) => message.startsWith("start-up: "));
    expect(table.slice(-3)).toMatchObject([
      { message: expect.stringMatching(/VOLUME +DEVICE +JOURNAL +KERNEL +ACTION +REASON$/) },
      { level: "info", fields: { volumeId: "one", deviceId: 0, kernel: "quiesced", action: "adopted" } },
      { level: "error", fields: { volumeId: "two", deviceId: 1, kernel: "quiesced", action: "failed" } },
    ]);
    await rename(imagePath("elsewhere"), imagePath("two"));
    expect((await engine.adopt()).entries.map(({ action }) => action)).toEqual(["kept", "adopted"]);
  });
});

test("the table has equal columns", () => {
  const row = { journal: "serving, generation 1", action: "adopt", reason: "it waits for a server" } as const;
  const lines = formatPlan([
    { ...row, volumeId: "volume-with-a-long-name", deviceId: 12, kernel: "quiesced" },
    { ...row, volumeId: undefined, deviceId: undefined, kernel: "?" },
  ]);
  expect(lines).toEqual([
    "VOLUME                   DEVICE        JOURNAL                KERNEL    ACTION  REASON",
    "volume-with-a-long-name  /dev/ublkb12  serving, generation 1  quiesced  adopt   it waits for a server",
    "-                        -             serving, generation 1  ?         adopt   it waits for a server",
  ]);
});
