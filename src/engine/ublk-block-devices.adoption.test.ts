import { copyFile, readdir, readFile, rename, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "@jest/globals";
import { deviceStates } from "../ublk/testing/fake-kernel.js";
import { useEngineRig } from "./testing/engine-rig.js";

describe("adoption", () => {
  const rig = useEngineRig();

  test("after a reboot forgets devices that are no more", async () => {
    await rig.engine.attach(rig.spec);
    rig.node.kernel.devices.clear();
    expect(await rig.adoptionAfterKill()).toMatchObject({ action: "removed", deviceId: 0 });
    expect(await rig.engine.attach(rig.spec)).toMatchObject({ state: "live" });
  });

  test("leaves a foreign device alone that got the number of ours", async () => {
    await rig.engine.attach(rig.spec);
    rig.node.kernel.devices.clear();
    const foreign = { ...rig.node.kernel.addForeign({ state: deviceStates.quiesced }) };
    expect(await rig.adoptionAfterKill()).toMatchObject({ action: "removed" });
    expect(rig.node.kernel.devices.get(0)).toEqual(foreign);
    expect(await rig.engine.attach(rig.spec)).toMatchObject({ deviceId: 1 });
  });

  test("removes its own dead device", async () => {
    await rig.engine.attach(rig.spec);
    rig.node.addon.kill();
    rig.node.kernel.find(0, "test").state = deviceStates.dead;
    expect(await rig.adoptionAfterKill()).toMatchObject({ action: "removed", reason: "the device was dead" });
    expect(rig.node.kernel.devices.size).toBe(0);
  });

  test("waits for the old server to exit", async () => {
    await rig.engine.attach(rig.spec);
    const old = rig.node.addon;
    const next = rig.node.startEngine();
    setTimeout(() => old.kill(), 15);
    expect(await next.adopt()).toMatchObject({ entries: [{ action: "adopted" }] });
  });

  test("reports a server that stays, and attach says the same", async () => {
    await rig.engine.attach(rig.spec);
    const next = rig.node.startEngine();
    const reason = expect.stringMatching(/still served by process \d+: end it; if there is no such process/);
    expect(await next.adopt()).toMatchObject({ entries: [{ action: "failed", reason }] });
    await expect(next.attach(rig.spec)).rejects.toMatchObject({ code: "unavailable" });
    await expect(next.detach("one")).rejects.toMatchObject({ code: "unavailable" });
    expect(rig.node.kernel.devices.get(0)?.state).toBe(deviceStates.live);
  });

  const changes: [string, () => Promise<unknown>, string][] = [
    ["gone", () => rm(rig.image), "does not exist"],
    [
      "replaced",
      async () => [await copyFile(rig.image, `${rig.image}-b`), await rename(`${rig.image}-b`, rig.image)],
      "another file",
    ],
    ["cut", () => truncate(rig.image, 4096), "was cut"],
  ];

  test.each(changes)("touches nothing when the image is %s", async (_what, change, reason) => {
    await rig.engine.attach(rig.spec);
    await change();
    expect(await rig.adoptionAfterKill()).toMatchObject({ action: "failed", reason: expect.stringContaining(reason) });
    expect(rig.node.kernel.devices.get(0)?.state).toBe(deviceStates.quiesced);
    expect(await readdir(rig.node.journalFolder)).toEqual(["one.json"]);
    expect(await rig.engine.find("one")).toMatchObject({ state: "quiesced" });
    await expect(rig.engine.attach(rig.spec)).rejects.toMatchObject({ name: "BlockDeviceError" });
  });

  test("after a failure, detach removes the device once nobody uses it", async () => {
    await rig.engine.attach(rig.spec);
    await rm(rig.image);
    await rig.adoptionAfterKill();
    rig.node.users.set(0, [{ kind: "mount", name: "/mnt" }]);
    await expect(rig.engine.detach("one")).rejects.toMatchObject({ code: "in_use" });
    rig.node.users.clear();
    await rig.engine.detach("one");
    expect(rig.node.kernel.devices.size).toBe(0);
  });

  test("a failed recovery is reported and tried again by attach", async () => {
    const device = await rig.engine.attach(rig.spec);
    rig.node.kernel.failNext("END_USER_RECOVERY", "EIO");
    expect(await rig.adoptionAfterKill()).toMatchObject({ action: "failed" });
    expect(await rig.engine.attach(rig.spec)).toEqual(device);
  });

  test("touches nothing when the device has another size than the journal says", async () => {
    await rig.engine.attach(rig.spec);
    rig.node.kernel.find(0, "test").sizeBytes = 4096n;
    expect(await rig.adoptionAfterKill()).toMatchObject({
      action: "failed",
      reason: expect.stringContaining("4096 bytes"),
    });
    expect(rig.node.kernel.devices.get(0)?.state).toBe(deviceStates.quiesced);
  });

  test("touches nothing when a device cannot be read", async () => {
    await rig.engine.attach(rig.spec);
    rig.engine = rig.node.restartAfterKill();
    rig.node.kernel.failNext("GET_DEV_INFO", "EIO");
    expect(await rig.engine.adopt()).toMatchObject({ entries: [{ action: "failed" }] });
    expect(await readdir(rig.node.journalFolder)).toEqual(["one.json"]);
  });

  test("counts the generations of servers", async () => {
    await rig.engine.attach(rig.spec);
    await rig.adoptionAfterKill();
    await rig.adoptionAfterKill();
    expect(JSON.parse(await readFile(rig.entryPath, "utf8"))).toMatchObject({ generation: 3 });
  });

  test("one bad entry does not keep the others from being adopted", async () => {
    await rig.engine.attach(rig.spec);
    await writeFile(join(rig.node.journalFolder, "two.json"), "{");
    rig.engine = rig.node.restartAfterKill();
    const { entries } = await rig.engine.adopt();
    expect(entries).toMatchObject([
      { volumeId: "two", action: "failed", reason: expect.stringContaining("corrupt") },
      { volumeId: "one", action: "adopted" },
    ]);
    await expect(rig.engine.detach("two")).rejects.toMatchObject({ code: "internal" });
    expect(await readFile(join(rig.node.journalFolder, "two.json"), "utf8")).toBe("{");
  });
});
