import { copyFile, readdir, readFile, rename, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { deviceStates } from "../ublk/testing/fake-kernel.js";
import type { BlockDeviceSpec } from "./block-devices.js";
import { FakeNode, toSpec } from "./testing/fake-node.js";
import type { UblkBlockDevices } from "./ublk-block-devices.js";

const mebibyte = 1 << 20;

describe("adoption", () => {
  let node: FakeNode;
  let engine: UblkBlockDevices;
  let spec: BlockDeviceSpec;
  let image: string;

  beforeEach(async () => {
    node = await FakeNode.create();
    engine = node.startEngine();
    image = await node.createImage("image", mebibyte);
    spec = toSpec("one", image, mebibyte);
  });

  afterEach(async () => {
    await node.destroy();
  });

  const entryPath = () => join(node.journalFolder, "one.json");

  /** The only line of the report of a new engine's adoption, after the old one was killed. */
  async function adoptionAfterKill() {
    engine = node.restartAfterKill();
    const { entries } = await engine.adopt();
    expect(entries).toHaveLength(1);
    return entries[0];
  }

  test("after a reboot forgets devices that are no more", async () => {
    await engine.attach(spec);
    node.kernel.devices.clear();
    expect(await adoptionAfterKill()).toMatchObject({ action: "removed", deviceId: 0 });
    expect(await engine.attach(spec)).toMatchObject({ state: "live" });
  });

  test("leaves a foreign device alone that got the number of ours", async () => {
    await engine.attach(spec);
    node.kernel.devices.clear();
    const foreign = { ...node.kernel.addForeign({ state: deviceStates.quiesced }) };
    expect(await adoptionAfterKill()).toMatchObject({ action: "removed" });
    expect(node.kernel.devices.get(0)).toEqual(foreign);
    expect(await engine.attach(spec)).toMatchObject({ deviceId: 1 });
  });

  test("removes its own dead device", async () => {
    await engine.attach(spec);
    node.addon.kill();
    node.kernel.find(0, "test").state = deviceStates.dead;
    expect(await adoptionAfterKill()).toMatchObject({ action: "removed", reason: "the device was dead" });
    expect(node.kernel.devices.size).toBe(0);
  });

  test("waits for the old server to exit", async () => {
    await engine.attach(spec);
    const old = node.addon;
    const next = node.startEngine();
    setTimeout(() => old.kill(), 15);
    expect(await next.adopt()).toMatchObject({ entries: [{ action: "adopted" }] });
  });

  test("reports a server that stays, and attach says the same", async () => {
    await engine.attach(spec);
    const next = node.startEngine();
    expect(await next.adopt()).toMatchObject({ entries: [{ action: "failed" }] });
    await expect(next.attach(spec)).rejects.toMatchObject({ code: "unavailable" });
    await expect(next.detach("one")).rejects.toMatchObject({ code: "unavailable" });
    expect(node.kernel.devices.get(0)?.state).toBe(deviceStates.live);
  });

  const changes: [string, () => Promise<unknown>, string][] = [
    ["gone", () => rm(image), "does not exist"],
    ["replaced", async () => [await copyFile(image, `${image}-b`), await rename(`${image}-b`, image)], "another file"],
    ["cut", () => truncate(image, 4096), "was cut"],
  ];

  test.each(changes)("touches nothing when the image is %s", async (_what, change, reason) => {
    await engine.attach(spec);
    await change();
    expect(await adoptionAfterKill()).toMatchObject({ action: "failed", reason: expect.stringContaining(reason) });
    expect(node.kernel.devices.get(0)?.state).toBe(deviceStates.quiesced);
    expect(await readdir(node.journalFolder)).toEqual(["one.json"]);
    expect(await engine.find("one")).toMatchObject({ state: "quiesced" });
    await expect(engine.attach(spec)).rejects.toMatchObject({ name: "BlockDeviceError" });
  });

  test("after a failure, detach removes the device once nobody uses it", async () => {
    await engine.attach(spec);
    await rm(image);
    await adoptionAfterKill();
    node.users.set(0, [{ kind: "mount", name: "/mnt" }]);
    await expect(engine.detach("one")).rejects.toMatchObject({ code: "in_use" });
    node.users.clear();
    await engine.detach("one");
    expect(node.kernel.devices.size).toBe(0);
  });

  test("a failed recovery is reported and tried again by attach", async () => {
    const device = await engine.attach(spec);
    node.kernel.failNext("END_USER_RECOVERY", "EIO");
    expect(await adoptionAfterKill()).toMatchObject({ action: "failed" });
    expect(await engine.attach(spec)).toEqual(device);
  });

  test("touches nothing when the device has another size than the journal says", async () => {
    await engine.attach(spec);
    node.kernel.find(0, "test").sizeBytes = 4096n;
    expect(await adoptionAfterKill()).toMatchObject({
      action: "failed",
      reason: expect.stringContaining("4096 bytes"),
    });
    expect(node.kernel.devices.get(0)?.state).toBe(deviceStates.quiesced);
  });

  test("touches nothing when a device cannot be read", async () => {
    await engine.attach(spec);
    engine = node.restartAfterKill();
    node.kernel.failNext("GET_DEV_INFO", "EIO");
    expect(await engine.adopt()).toMatchObject({ entries: [{ action: "failed" }] });
    expect(await readdir(node.journalFolder)).toEqual(["one.json"]);
  });

  test("counts the generations of servers", async () => {
    await engine.attach(spec);
    await adoptionAfterKill();
    await adoptionAfterKill();
    expect(JSON.parse(await readFile(entryPath(), "utf8"))).toMatchObject({ generation: 3 });
  });

  test("one bad entry does not keep the others from being adopted", async () => {
    await engine.attach(spec);
    await writeFile(join(node.journalFolder, "two.json"), "{");
    engine = node.restartAfterKill();
    const { entries } = await engine.adopt();
    expect(entries).toMatchObject([
      { volumeId: "two", action: "failed", reason: expect.stringContaining("corrupt") },
      { volumeId: "one", action: "adopted" },
    ]);
    await expect(engine.detach("two")).rejects.toMatchObject({ code: "internal" });
    expect(await readFile(join(node.journalFolder, "two.json"), "utf8")).toBe("{");
  });
});
