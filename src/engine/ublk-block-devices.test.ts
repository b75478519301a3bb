import { readFileSync, writeFileSync } from "node:fs";
import { mkdir, readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { createGate } from "../testing/gate.js";
import { deviceStates, toNativeFailure } from "../ublk/testing/fake-kernel.js";
import type { BlockDeviceSpec } from "./block-devices.js";
import type { Journal } from "./journal.js";
import { type BlockDevicesHarness, describeBlockDevices } from "./testing/block-devices-contract.js";
import { FakeNode, toSpec } from "./testing/fake-node.js";
import type { UblkBlockDevices } from "./ublk-block-devices.js";

const mebibyte = 1 << 20;

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

  test("logs what it chose for a device when it makes it, and when it takes it back in either way", async () => {
    node.kernel.features = 0x1fen;
    const { serving } = await engine.attach(spec);
    expect(serving).toMatchObject({ dataMode: "copy", queueCount: 1, queueDepth: 64 });
    const refused = expect.arrayContaining(["UPDATE_SIZE: kernel-too-old", "QUIESCE: kernel-too-old"]);
    const facts = { volumeId: "one", deviceId: 0, ...serving, refused };
    const findLine = (words: string) => node.log.find(({ message }) => message.includes(words))?.fields;
    expect(findLine("device attached")).toEqual(facts);
    await adoptionAfterKill();
    expect(findLine("start-up: one")).toMatchObject({ ...facts, action: "adopted" });
    engine = node.restartAfterKill();
    expect((await engine.attach(spec)).serving).toEqual(serving);
    expect(findLine("device recovered")).toEqual(facts);
    engine = node.restartAfterKill();
    await engine.recover("one");
    expect(findLine("device taken over")).toEqual(facts);
  });

  test("says how a device is served only while it is", async () => {
    const { serving, ...rest } = await engine.attach(spec);
    engine = node.restartAfterKill();
    expect(await engine.list()).toEqual([{ ...rest, state: "quiesced" }]);
    await engine.adopt();
    expect(await engine.list()).toEqual([{ ...rest, serving }]);
  });

  test("resizes a device that is just being taken back once it is, and not before", async () => {
    await engine.attach(spec);
    await truncate(image, 2 * mebibyte);
    const entered = createGate();
    const gate = createGate();
    node.addon.kill();
    engine = node.startEngine((journal) =>
      writingBy(journal, async (entry) => {
        entered.open();
        await gate.opened;
        await journal.write(entry);
      }),
    );
    const adopting = engine.adopt();
    await entered.opened; // the kernel has the device back, the journal does not say so yet
    const resizing = engine.resize("one", BigInt(2 * mebibyte));
    expect(await engine.find("one")).toMatchObject({ sizeBytes: BigInt(mebibyte) });
    gate.open();
    expect((await adopting).entries).toMatchObject([{ action: "adopted" }]);
    expect(await resizing).toMatchObject({ state: "live", sizeBytes: BigInt(2 * mebibyte) });
    const order = node.kernel.steps.filter((step) => /END_USER_RECOVERY|UPDATE_SIZE/.test(step));
    expect(order).toEqual(["END_USER_RECOVERY 0", "UPDATE_SIZE 0"]);
    expect(JSON.parse(await readFile(entryPath(), "utf8"))).toMatchObject({ generation: 2, sizeBytes: "2097152" });
  });

  test("takes devices back with a full disk below the journal, serves them, and changes them once there is room", async () => {
    await engine.attach(spec);
    const before = await readFile(entryPath(), "utf8");
    node.addon.kill();
    let isFull = true;
    engine = node.startEngine((journal) =>
      writingBy(journal, async (entry) => {
        if (isFull) throw Object.assign(new Error("ENOSPC: no space left on device"), { code: "ENOSPC" });
        await journal.write(entry);
      }),
    );
    const { entries } = await engine.adopt();
    expect(entries).toMatchObject([
      { action: "adopted", reason: expect.stringMatching(/the journal could not be written: .*ENOSPC/) },
    ]);
    expect(await engine.list()).toMatchObject([{ volumeId: "one", state: "live" }]);
    await truncate(image, 2 * mebibyte);
    await expect(engine.resize("one", BigInt(2 * mebibyte))).rejects.toThrow("ENOSPC");
    expect(node.kernel.devices.get(0)?.sizeBytes).toBe(BigInt(mebibyte));
    expect(await readFile(entryPath(), "utf8")).toBe(before);
    isFull = false;
    expect(await engine.resize("one", BigInt(2 * mebibyte))).toMatchObject({ sizeBytes: BigInt(2 * mebibyte) });
    expect(await adoptionAfterKill()).toMatchObject({ action: "adopted" });
  });

  test("asks for a recoverable device with a random tag and the driver's geometry", async () => {
    await engine.attach(spec);
    await engine.attach({
      ...spec,
      volumeId: "two",
      image: { kind: "memory", path: await node.createImage("b", mebibyte) },
    });
    const [first, second] = node.addon.specs;
    expect(first).toMatchObject({ queueCount: 1, queueDepth: 64, maxIoBytes: 131072, discard: false, recover: false });
    expect((first?.features ?? 0n) & 0x18n).toBe(0x18n);
    expect(second?.target).toEqual({ kind: "memory", path: join(node.folder, "b") });
    expect(first?.ownerTag).not.toBe(0n);
    expect(first?.ownerTag).not.toBe(second?.ownerTag);
  });

  test.each(["at once", "when the same resize is repeated"])(
    "believes the kernel of a resize that reported a timeout, %s",
    async (when) => {
      await engine.attach(spec);
      await truncate(image, 2 * mebibyte);
      const sizeBytes = BigInt(2 * mebibyte);
      const device = node.kernel.devices.get(0);
      node.kernel.afterStep = (step) => {
        if (step !== "UPDATE_SIZE") return;
        if (device && when !== "at once") device.sizeBytes = BigInt(mebibyte); // it is still under way
        throw toNativeFailure(step, "ETIMEDOUT");
      };
      await expect(engine.resize("one", sizeBytes)).rejects.toMatchObject({ code: "unavailable" });
      node.kernel.afterStep = () => undefined;
      if (device) device.sizeBytes = sizeBytes;
      expect(await engine.find("one")).toMatchObject({ sizeBytes });
      expect(await engine.resize("one", sizeBytes)).toMatchObject({ sizeBytes });
      expect(JSON.parse(await readFile(entryPath(), "utf8"))).toMatchObject({ sizeBytes: String(sizeBytes) });
      expect(JSON.parse(await readFile(entryPath(), "utf8")).resizingToBytes ?? null).toBeNull();
      await engine.detach("one");
    },
  );

  test("forgets a resize that the kernel has refused", async () => {
    await engine.attach(spec);
    await truncate(image, 2 * mebibyte);
    node.kernel.failNext("UPDATE_SIZE", "EINVAL");
    await expect(engine.resize("one", BigInt(2 * mebibyte))).rejects.toMatchObject({ name: "BlockDeviceError" });
    const { sizeBytes, resizingToBytes } = JSON.parse(await readFile(entryPath(), "utf8"));
    expect({ sizeBytes, resizingToBytes: resizingToBytes ?? null }).toEqual({
      sizeBytes: String(mebibyte),
      resizingToBytes: null,
    });
  });

  test("gives no image a device while an entry that cannot be read might name it", async () => {
    await engine.attach(toSpec("newer", await node.createImage("other", mebibyte), mebibyte));
    const path = join(node.journalFolder, "newer.json");
    const newer = { ...JSON.parse(await readFile(path, "utf8")), formatVersion: 99 };
    await writeFile(path, JSON.stringify({ ...newer, image: { ...newer.image, path: image } }));
    await expect(engine.attach(spec)).rejects.toMatchObject({
      code: "unavailable",
      message: expect.stringContaining("volume newer may have a device"),
    });
    await writeFile(path, "{");
    await expect(engine.attach(spec)).rejects.toThrow("mend or remove its entry first");
    await writeFile(path, JSON.stringify(newer));
    expect(await engine.attach(spec)).toMatchObject({ volumeId: "one" });
  });

  test("looks again for a device that was made anew after the journal was read", async () => {
    await engine.attach(spec);
    const next = node.restartAfterKill();
    let isRemade = false;
    node.kernel.afterStep = (step) => {
      if (step !== "GET_DEV_INFO" || isRemade) return;
      isRemade = true;
      const entry = JSON.parse(readFileSync(entryPath(), "utf8"));
      const device = node.kernel.devices.get(0);
      if (device) device.ownerTag = 77n;
      writeFileSync(entryPath(), JSON.stringify({ ...entry, ownerTag: "77" }));
    };
    expect((await next.adopt()).entries).toMatchObject([{ volumeId: "one", action: "adopted" }]);
  });

  test("lists the devices that it can tell, and names every volume that might have one", async () => {
    const volumeIds = ["one", "mismatched", "corrupt", "unreadable"];
    for (const volumeId of volumeIds) {
      await engine.attach(toSpec(volumeId, await node.createImage(volumeId, mebibyte), mebibyte));
    }
    const mismatched = node.kernel.devices.get(1);
    if (mismatched) mismatched.sizeBytes = 1n << 30n;
    await writeFile(join(node.journalFolder, "corrupt.json"), "{");
    await rm(join(node.journalFolder, "unreadable.json"));
    await mkdir(join(node.journalFolder, "unreadable.json"));
    expect(await engine.list()).toMatchObject([{ volumeId: "one", state: "live" }]);
    expect((await engine.listVolumeIds()).sort()).toEqual([...volumeIds].sort());
    expect(node.log).toContainEqual(
      expect.objectContaining({ level: "error", fields: expect.objectContaining({ volumeId: "mismatched" }) }),
    );
    await expect(engine.find("mismatched")).rejects.toMatchObject({ code: "internal" });
  });

  test("keeps the journal to what the kernel has", async () => {
    await engine.attach(spec);
    expect(JSON.parse(await readFile(entryPath(), "utf8"))).toMatchObject({
      formatVersion: 2,
      state: "serving",
      deviceId: 0,
      generation: 1,
      sizeBytes: "1048576",
    });
    await engine.detach("one");
    expect(await readdir(node.journalFolder)).toEqual([]);
  });

  test.each(["ADD_DEV", "SET_PARAMS", "START_DEV"])("leaves nothing when %s fails", async (step) => {
    node.kernel.failNext(step, "EIO");
    await expect(engine.attach(spec)).rejects.toMatchObject({ name: "BlockDeviceError", code: "internal" });
    expect(node.kernel.devices.size).toBe(0);
    expect(await readdir(node.journalFolder)).toEqual([]);
    expect(await engine.attach(spec)).toMatchObject({ state: "live" });
  });

  test("leaves nothing when the node does not appear", async () => {
    node.shownSizes.set(0, 512n);
    await expect(engine.attach(spec)).rejects.toThrow("it shows 512 bytes");
    expect(node.kernel.devices.size).toBe(0);
    expect(await readdir(node.journalFolder)).toEqual([]);
  });

  test("a full device table is unavailable, with the limit in the message", async () => {
    node.kernel.failNext("ADD_DEV", "EACCES");
    const message = expect.stringContaining("ublks_max=64");
    await expect(engine.attach(spec)).rejects.toMatchObject({ code: "unavailable", message });
  });

  test("an exclusive open that ends soon does not fail detach", async () => {
    await engine.attach(spec);
    node.users.set(0, [{ kind: "exclusive", name: "somebody" }]);
    setTimeout(() => node.users.clear(), 5);
    await engine.detach("one");
    expect(node.kernel.devices.size).toBe(0);
  });

  test("a device that somebody else stopped is made anew", async () => {
    await engine.attach(spec);
    const stranger = node.kernel.find(0, "test");
    stranger.state = deviceStates.dead;
    node.addon.emit(0, { kind: "stopped" });
    await Promise.resolve();
    expect(await engine.attach(spec)).toMatchObject({ state: "live" });
    expect(node.log.some(({ message }) => message.includes("somebody else stopped"))).toBe(true);
  });

  test("I/O errors reach the log, a flood of them as one line", async () => {
    await engine.attach(spec);
    for (let i = 0; i < 100; i++) {
      node.addon.emit(0, { kind: "io-error", errno: 5, operation: 1, offsetBytes: 512n, lengthBytes: 4096 });
    }
    await Promise.resolve();
    const lines = node.log.filter(({ level }) => level === "error");
    expect(lines).toHaveLength(1);
    expect(lines[0]?.fields).toMatchObject({ volumeId: "one", deviceId: 0, operation: "write", errnoName: "EIO" });
  });
});
