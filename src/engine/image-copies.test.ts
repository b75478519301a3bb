import { link, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { createGate } from "../testing/gate.js";
import type { ImageCopySpec } from "./block-devices.js";
import { FakeNode, toSpec } from "./testing/fake-node.js";
import type { UblkBlockDevices } from "./ublk-block-devices.js";

const sizeBytes = 1 << 20;
const startingState = 0;

let node: FakeNode;
let engine: UblkBlockDevices;

beforeEach(async () => {
  node = await FakeNode.create();
  engine = node.startEngine();
});

afterEach(async () => {
  await node.destroy();
});

const copiesFolder = () => join(node.folder, "copies");

async function prepare(name: string): Promise<ImageCopySpec> {
  const path = await node.createImage(name, sizeBytes);
  const targetPath = await node.createImage(`${name}-copy`, sizeBytes);
  return {
    copyId: `copy-${name}`,
    volumeId: name,
    source: { kind: "file", path },
    sizeBytes: BigInt(sizeBytes),
    targetPath,
  };
}

async function restartAfterKill(): Promise<UblkBlockDevices> {
  node.addon.kill();
  const next = node.startEngine();
  await next.adopt();
  return next;
}

async function setState(copyId: string, state: number): Promise<void> {
  const path = join(copiesFolder(), `${copyId}.progress`);
  const header = await readFile(path);
  header.writeUInt32LE(state, 12);
  await writeFile(path, header);
}

test("a device is recovered, and made, behind the copies of its image that go on", async () => {
  const spec = await prepare("one");
  await engine.attach(toSpec("one", spec.source.path, sizeBytes));
  node.addon.copies.isHeld = true;
  await engine.startCopies([spec], { deadlineMs: 1_000 });
  node.addon.kill();
  const next = node.startEngine();
  node.addon.copies.isHeld = true;
  await next.adopt();
  expect(node.addon.copies.targetsOf(node.addon.specs[0]?.copies ?? [])).toEqual([spec.targetPath]);
  await next.detach("one");
  await next.attach(toSpec("one", spec.source.path, sizeBytes));
  expect(node.addon.copies.targetsOf(node.addon.specs[1]?.copies ?? [])).toEqual([spec.targetPath]);
});

test("a group of which one copy does not count leaves nothing after a crash", async () => {
  const specs = [await prepare("one"), await prepare("two")];
  node.addon.copies.isHeld = true;
  await engine.startCopies(specs, { deadlineMs: 1_000 });
  await setState("copy-two", startingState);
  const next = await restartAfterKill();
  for (const { copyId } of specs) expect(await next.findCopy(copyId)).toBeUndefined();
  expect(await readdir(copiesFolder())).toEqual([]);
});

test("what is left of a group whose first copy was ended goes on after a crash", async () => {
  const specs = [await prepare("one"), await prepare("two")];
  await engine.startCopies(specs, { deadlineMs: 1_000 });
  await engine.endCopy("copy-one");
  const next = await restartAfterKill();
  expect(await next.findCopy("copy-two")).toMatchObject({ state: "done" });
});

test("a start that fails leaves no copy, and may be repeated", async () => {
  const spec = await prepare("one");
  await engine.attach(toSpec("one", spec.source.path, sizeBytes));
  const token = await engine.freeze(["one"], { deadlineMs: 60_000 });
  await expect(engine.startCopies([spec], { deadlineMs: 1_000 })).rejects.toMatchObject({ name: "BlockDeviceError" });
  expect(await engine.findCopy("copy-one")).toBeUndefined();
  expect(await readdir(copiesFolder())).toEqual([]);
  await engine.thaw(["one"], token);
  await engine.startCopies([spec], { deadlineMs: 1_000 });
  expect(await engine.findCopy("copy-one")).toMatchObject({ state: "done" });
});

test("a copy whose record cannot be read has failed for good, and hinders no device", async () => {
  const spec = await prepare("one");
  await engine.attach(toSpec("one", spec.source.path, sizeBytes));
  node.addon.copies.isHeld = true;
  await engine.startCopies([spec], { deadlineMs: 1_000 });
  await writeFile(join(copiesFolder(), "copy-one.json"), "{");
  const next = await restartAfterKill();
  expect(await next.find("one")).toMatchObject({ state: "live" });
  expect(await next.findCopy("copy-one")).toMatchObject({ state: "failed" });
  await next.endCopy("copy-one");
  expect(await readdir(copiesFolder())).toEqual([]);
});

test("a file of progress without a record, and half a record, are cleared away", async () => {
  await engine.startCopies([await prepare("one")], { deadlineMs: 1_000 });
  await writeFile(join(copiesFolder(), "lost.progress"), "");
  await writeFile(join(copiesFolder(), "half.progress"), "");
  await writeFile(join(copiesFolder(), "half.json.tmp"), "{");
  await restartAfterKill();
  expect((await readdir(copiesFolder())).sort()).toEqual(["copy-one.json", "copy-one.progress"]);
});

test("a device is made behind a copy of its image though the image has another path by now", async () => {
  const spec = await prepare("one");
  node.addon.copies.isHeld = true;
  await engine.startCopies([spec], { deadlineMs: 1_000 });
  const moved = `${spec.source.path}-moved`;
  await link(spec.source.path, moved);
  await engine.attach(toSpec("one", moved, sizeBytes));
  expect(node.addon.copies.targetsOf(node.addon.specs.at(-1)?.copies ?? [])).toEqual([spec.targetPath]);
});

test("a copy that is ended while it is being started has ended when both are over", async () => {
  const spec = await prepare("one");
  await engine.attach(toSpec("one", spec.source.path, sizeBytes));
  const { copies } = node.addon;
  copies.isHeld = true;
  const [begun, slow] = [createGate(), createGate()];
  const start = copies.start.bind(copies);
  copies.start = async (handles) => {
    begun.open();
    await slow.opened;
    await start(handles);
  };
  const starting = engine.startCopies([spec], { deadlineMs: 1_000 });
  await begun.opened;
  const ending = engine.endCopy(spec.copyId);
  slow.open();
  await Promise.all([starting, ending]);
  expect(await engine.findCopy(spec.copyId)).toBeUndefined();
  expect(await readdir(copiesFolder())).toEqual([]);
});
