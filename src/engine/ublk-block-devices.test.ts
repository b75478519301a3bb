import { readFileSync, writeFileSync } from "node:fs";
import { mkdir, readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "@jest/globals";
import { createGate } from "../testing/gate.js";
import { deviceStates, toNativeFailure } from "../ublk/testing/fake-kernel.js";
import type { Journal } from "./journal/journal.js";
import { type BlockDevicesHarness, describeBlockDevices } from "./testing/block-devices-contract.js";
import { mebibyte, useEngineRig } from "./testing/engine-rig.js";
import { FakeNode, toSpec } from "./testing/fake-node.js";

/** A journal like this one, but for how it writes. */
function writingBy(journal: Journal, write: Journal["write"]): Journal {
  return {
    read: (volumeId) => journal.read(volumeId),
    readAll: () => journal.readAll(),
    removeUnwritten: (volumeId) => journal.removeUnwritten(volumeId),
    remove: (volumeId) => journal.remove(volumeId),
    write,
  };
}

async function createHarness(): Promise<BlockDevicesHarness> {
  const node = await FakeNode.create();
  return {
    isRemote: false,
    devices: node.startEngine(),
    createVolume: async (volumeId) => toSpec(volumeId, await node.createImage(volumeId, mebibyte), mebibyte),
    resizeImage: ({ image }, sizeBytes) => truncate(image.path, Number(sizeBytes)),
    canResize: true,
    readLimits: (volumeId) => node.readLimits(volumeId),
    waitUntilListening: async () => {},
    hold: async ({ deviceId }) => {
      node.users.set(deviceId, [{ kind: "mount", name: "/mnt/somewhere" }]);
      return async () => void node.users.delete(deviceId);
    },
    restartAfterKill: async () => node.restartAfterKill(),
    restartAfterClose: async () => node.startEngine(),
    destroy: () => node.destroy(),
  };
}

describeBlockDevices("UblkBlockDevices on a fake kernel", createHarness);

describe("UblkBlockDevices", () => {
  const rig = useEngineRig();

  test("logs what it chose for a device when it makes it, and when it takes it back in either way", async () => {
    rig.node.kernel.features = 0x1fen;
    const { serving } = await rig.engine.attach(rig.spec);
    expect(serving).toMatchObject({ dataMode: "copy", queueCount: 1, queueDepth: 64 });
    const refused = expect.arrayContaining(["UPDATE_SIZE: kernel-too-old", "QUIESCE: kernel-too-old"]);
    const facts = { volumeId: "one", deviceId: 0, ...serving, refused };
    const findLine = (words: string) => rig.node.log.find(({ message }) => message.includes(words))?.fields;
    expect(findLine("device attached")).toEqual(facts);
    await rig.adoptionAfterKill();
    expect(findLine("start-up: one")).toMatchObject({ ...facts, action: "adopted" });
    rig.engine = rig.node.restartAfterKill();
    expect((await rig.engine.attach(rig.spec)).serving).toEqual(serving);
    expect(findLine("device recovered")).toEqual(facts);
    rig.engine = rig.node.restartAfterKill();
    await rig.engine.recover("one");
    expect(findLine("device taken over")).toEqual(facts);
  });

  test("says how a device is served only while it is", async () => {
    const { serving, ...rest } = await rig.engine.attach(rig.spec);
    rig.engine = rig.node.restartAfterKill();
    expect(await rig.engine.list()).toEqual([{ ...rest, state: "quiesced" }]);
    await rig.engine.adopt();
    expect(await rig.engine.list()).toEqual([{ ...rest, serving }]);
  });

  test("resizes a device that is just being taken back once it is, and not before", async () => {
    await rig.engine.attach(rig.spec);
    await truncate(rig.image, 2 * mebibyte);
    const entered = createGate();
    const gate = createGate();
    rig.node.addon.kill();
    rig.engine = rig.node.startEngine((journal) =>
      writingBy(journal, async (entry) => {
        entered.open();
        await gate.opened;
        await journal.write(entry);
      }),
    );
    const adopting = rig.engine.adopt();
    await entered.opened; // the kernel has the device back, the journal does not say so yet
    const resizing = rig.engine.resize("one", BigInt(2 * mebibyte));
    expect(await rig.engine.find("one")).toMatchObject({ sizeBytes: BigInt(mebibyte) });
    gate.open();
    expect((await adopting).entries).toMatchObject([{ action: "adopted" }]);
    expect(await resizing).toMatchObject({ state: "live", sizeBytes: BigInt(2 * mebibyte) });
    const order = rig.node.kernel.steps.filter((step) => /END_USER_RECOVERY|UPDATE_SIZE/.test(step));
    expect(order).toEqual(["END_USER_RECOVERY 0", "UPDATE_SIZE 0"]);
    expect(JSON.parse(await readFile(rig.entryPath, "utf8"))).toMatchObject({ generation: 2, sizeBytes: "2097152" });
  });

  test("takes devices back with a full disk below the journal, serves them, and changes them once there is room", async () => {
    await rig.engine.attach(rig.spec);
    const before = await readFile(rig.entryPath, "utf8");
    rig.node.addon.kill();
    let isFull = true;
    rig.engine = rig.node.startEngine((journal) =>
      writingBy(journal, async (entry) => {
        if (isFull) throw Object.assign(new Error("ENOSPC: no space left on device"), { code: "ENOSPC" });
        await journal.write(entry);
      }),
    );
    const { entries } = await rig.engine.adopt();
    expect(entries).toMatchObject([
      { action: "adopted", reason: expect.stringMatching(/the journal could not be written: .*ENOSPC/) },
    ]);
    expect(await rig.engine.list()).toMatchObject([{ volumeId: "one", state: "live" }]);
    await truncate(rig.image, 2 * mebibyte);
    await expect(rig.engine.resize("one", BigInt(2 * mebibyte))).rejects.toThrow("ENOSPC");
    expect(rig.node.kernel.devices.get(0)?.sizeBytes).toBe(BigInt(mebibyte));
    expect(await readFile(rig.entryPath, "utf8")).toBe(before);
    isFull = false;
    expect(await rig.engine.resize("one", BigInt(2 * mebibyte))).toMatchObject({ sizeBytes: BigInt(2 * mebibyte) });
    expect(await rig.adoptionAfterKill()).toMatchObject({ action: "adopted" });
  });

  test("asks for a recoverable device with a random tag and the driver's geometry", async () => {
    await rig.engine.attach(rig.spec);
    await rig.engine.attach({
      ...rig.spec,
      volumeId: "two",
      image: { kind: "memory", path: await rig.node.createImage("b", mebibyte) },
    });
    const [first, second] = rig.node.addon.specs;
    expect(first).toMatchObject({ queueCount: 1, queueDepth: 64, maxIoBytes: 131072, discard: false, recover: false });
    expect((first?.features ?? 0n) & 0x18n).toBe(0x18n);
    expect(second?.target).toEqual({ kind: "memory", path: join(rig.node.folder, "b") });
    expect(first?.ownerTag).not.toBe(0n);
    expect(first?.ownerTag).not.toBe(second?.ownerTag);
  });

  test.each(["at once", "when the same resize is repeated"])(
    "believes the kernel of a resize that reported a timeout, %s",
    async (when) => {
      await rig.engine.attach(rig.spec);
      await truncate(rig.image, 2 * mebibyte);
      const sizeBytes = BigInt(2 * mebibyte);
      const device = rig.node.kernel.devices.get(0);
      rig.node.kernel.afterStep = (step) => {
        if (step !== "UPDATE_SIZE") return;
        if (device && when !== "at once") device.sizeBytes = BigInt(mebibyte); // it is still under way
        throw toNativeFailure(step, "ETIMEDOUT");
      };
      await expect(rig.engine.resize("one", sizeBytes)).rejects.toMatchObject({ code: "unavailable" });
      rig.node.kernel.afterStep = () => undefined;
      if (device) device.sizeBytes = sizeBytes;
      expect(await rig.engine.find("one")).toMatchObject({ sizeBytes });
      expect(await rig.engine.resize("one", sizeBytes)).toMatchObject({ sizeBytes });
      expect(JSON.parse(await readFile(rig.entryPath, "utf8"))).toMatchObject({ sizeBytes: String(sizeBytes) });
      expect(JSON.parse(await readFile(rig.entryPath, "utf8")).resizingToBytes ?? null).toBeNull();
      await rig.engine.detach("one");
    },
  );

  test("forgets a resize that the kernel has refused", async () => {
    await rig.engine.attach(rig.spec);
    await truncate(rig.image, 2 * mebibyte);
    rig.node.kernel.failNext("UPDATE_SIZE", "EINVAL");
    await expect(rig.engine.resize("one", BigInt(2 * mebibyte))).rejects.toMatchObject({ name: "BlockDeviceError" });
    const { sizeBytes, resizingToBytes } = JSON.parse(await readFile(rig.entryPath, "utf8"));
    expect({ sizeBytes, resizingToBytes: resizingToBytes ?? null }).toEqual({
      sizeBytes: String(mebibyte),
      resizingToBytes: null,
    });
  });

  test("gives no image a device while an entry that cannot be read might name it", async () => {
    await rig.engine.attach(toSpec("newer", await rig.node.createImage("other", mebibyte), mebibyte));
    const path = join(rig.node.journalFolder, "newer.json");
    const newer = { ...JSON.parse(await readFile(path, "utf8")), formatVersion: 99 };
    await writeFile(path, JSON.stringify({ ...newer, image: { ...newer.image, path: rig.image } }));
    await expect(rig.engine.attach(rig.spec)).rejects.toMatchObject({
      code: "unavailable",
      message: expect.stringContaining("volume newer may have a device"),
    });
    await writeFile(path, "{");
    await expect(rig.engine.attach(rig.spec)).rejects.toThrow("mend or remove its entry first");
    await writeFile(path, JSON.stringify(newer));
    expect(await rig.engine.attach(rig.spec)).toMatchObject({ volumeId: "one" });
  });

  test("looks again for a device that was made anew after the journal was read", async () => {
    await rig.engine.attach(rig.spec);
    const next = rig.node.restartAfterKill();
    let isRemade = false;
    rig.node.kernel.afterStep = (step) => {
      if (step !== "GET_DEV_INFO" || isRemade) return;
      isRemade = true;
      const entry = JSON.parse(readFileSync(rig.entryPath, "utf8"));
      const device = rig.node.kernel.devices.get(0);
      if (device) device.ownerTag = 77n;
      writeFileSync(rig.entryPath, JSON.stringify({ ...entry, ownerTag: "77" }));
    };
    expect((await next.adopt()).entries).toMatchObject([{ volumeId: "one", action: "adopted" }]);
  });

  test("lists the devices that it can tell, and names every volume that might have one", async () => {
    const volumeIds = ["one", "mismatched", "corrupt", "unreadable"];
    for (const volumeId of volumeIds) {
      await rig.engine.attach(toSpec(volumeId, await rig.node.createImage(volumeId, mebibyte), mebibyte));
    }
    const mismatched = rig.node.kernel.devices.get(1);
    if (mismatched) mismatched.sizeBytes = 1n << 30n;
    await writeFile(join(rig.node.journalFolder, "corrupt.json"), "{");
    await rm(join(rig.node.journalFolder, "unreadable.json"));
    await mkdir(join(rig.node.journalFolder, "unreadable.json"));
    expect(await rig.engine.list()).toMatchObject([{ volumeId: "one", state: "live" }]);
    expect((await rig.engine.listVolumeIds()).sort()).toEqual([...volumeIds].sort());
    expect(rig.node.log).toContainEqual(
      expect.objectContaining({ level: "error", fields: expect.objectContaining({ volumeId: "mismatched" }) }),
    );
    await expect(rig.engine.find("mismatched")).rejects.toMatchObject({ code: "internal" });
  });

  test("keeps the journal to what the kernel has", async () => {
    await rig.engine.attach(rig.spec);
    expect(JSON.parse(await readFile(rig.entryPath, "utf8"))).toMatchObject({
      formatVersion: 2,
      state: "serving",
      deviceId: 0,
      generation: 1,
      sizeBytes: "1048576",
    });
    await rig.engine.detach("one");
    expect(await readdir(rig.node.journalFolder)).toEqual([]);
  });

  test.each(["ADD_DEV", "SET_PARAMS", "START_DEV"])("leaves nothing when %s fails", async (step) => {
    rig.node.kernel.failNext(step, "EIO");
    await expect(rig.engine.attach(rig.spec)).rejects.toMatchObject({ name: "BlockDeviceError", code: "internal" });
    expect(rig.node.kernel.devices.size).toBe(0);
    expect(await readdir(rig.node.journalFolder)).toEqual([]);
    expect(await rig.engine.attach(rig.spec)).toMatchObject({ state: "live" });
  });

  test("leaves nothing when the node does not appear", async () => {
    rig.node.shownSizes.set(0, 512n);
    await expect(rig.engine.attach(rig.spec)).rejects.toThrow("it shows 512 bytes");
    expect(rig.node.kernel.devices.size).toBe(0);
    expect(await readdir(rig.node.journalFolder)).toEqual([]);
  });

  test("a full device table is unavailable, with the limit in the message", async () => {
    rig.node.kernel.failNext("ADD_DEV", "EACCES");
    const message = expect.stringContaining("ublks_max=64");
    await expect(rig.engine.attach(rig.spec)).rejects.toMatchObject({ code: "unavailable", message });
  });

  test("an exclusive open that ends soon does not fail detach", async () => {
    await rig.engine.attach(rig.spec);
    rig.node.users.set(0, [{ kind: "exclusive", name: "somebody" }]);
    setTimeout(() => rig.node.users.clear(), 5);
    await rig.engine.detach("one");
    expect(rig.node.kernel.devices.size).toBe(0);
  });

  test("a device that somebody else stopped is made anew", async () => {
    await rig.engine.attach(rig.spec);
    const stranger = rig.node.kernel.find(0, "test");
    stranger.state = deviceStates.dead;
    rig.node.addon.emit(0, { kind: "stopped" });
    await Promise.resolve();
    expect(await rig.engine.attach(rig.spec)).toMatchObject({ state: "live" });
    expect(rig.node.log.some(({ message }) => message.includes("somebody else stopped"))).toBe(true);
  });

  test("I/O errors reach the log, a flood of them as one line", async () => {
    await rig.engine.attach(rig.spec);
    for (let i = 0; i < 100; i++) {
      rig.node.addon.emit(0, { kind: "io-error", errno: 5, operation: 1, offsetBytes: 512n, lengthBytes: 4096 });
    }
    await Promise.resolve();
    const lines = rig.node.log.filter(({ level }) => level === "error");
    expect(lines).toHaveLength(1);
    expect(lines[0]?.fields).toMatchObject({ volumeId: "one", deviceId: 0, operation: "write", errnoName: "EIO" });
  });
});
