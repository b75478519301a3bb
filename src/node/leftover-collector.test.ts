import { mkdir, readdir, rename, rmdir } from "node:fs/promises";
import { dirname } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { BlockDeviceError } from "../engine/block-devices.js";
import { defaultEphemeralRules } from "../pools/parameters/ephemeral-rules.js";
import { KeyedLock } from "../rpc/keyed-lock.js";
import { createGate } from "../testing/gate.js";
import { mebibyte, mountCapability, Workspace } from "../testing/workspace.js";
import { EphemeralVolumes } from "./ephemeral-volumes.js";
import { LeftoverCollector } from "./leftover-collector.js";

const rules = { ...defaultEphemeralRules, sizeBytesDefault: 2n * mebibyte };

let workspace: Workspace;
let ephemeral: EphemeralVolumes;
let collector: LeftoverCollector;
let lock: KeyedLock;

beforeEach(async () => {
  workspace = await Workspace.create();
  lock = new KeyedLock(1_000);
  open();
});

afterEach(() => workspace.remove());

/** As a start of the driver does. */
function open(): void {
  ephemeral = new EphemeralVolumes(workspace, rules);
  const kubeletDir = workspace.path("kubelet");
  const runLocked = <T>(keys: readonly string[], work: () => Promise<T>) => lock.run(keys, work);
  collector = new LeftoverCollector({ ...workspace, pools: workspace.pools, ephemeral, kubeletDir, runLocked });
}

const idOf = (letter: string) => `csi-${letter.repeat(64)}`;
const podPathOf = (letter: string) => workspace.path("kubelet", "pods", `uid-${letter}`);
const targetPathOf = (letter: string) => `${podPathOf(letter)}/volumes/kubernetes.io~csi/scratch/mount`;

/** As kubelet has it done when a pod starts. */
async function publish(letter: string): Promise<void> {
  const targetPath = targetPathOf(letter);
  await mkdir(dirname(targetPath), { recursive: true });
  const claim = { podUid: `uid-${letter}`, podName: "web", podNamespace: "shop", targetPath, attributes: {} };
  await ephemeral.publish({ volumeId: idOf(letter), capability: mountCapability, claim, readOnly: false });
}

/** The directory of the volume, which kubelet removes when a publication has failed, and those above up to the pod's. */
async function removeDirectories(letter: string, last: "the volume's" | "the pod's"): Promise<void> {
  const volumePath = dirname(targetPathOf(letter));
  await rmdir(targetPathOf(letter));
  await rmdir(volumePath);
  if (last === "the volume's") return;
  for (let path = dirname(volumePath); path !== dirname(podPathOf(letter)); path = dirname(path)) await rmdir(path);
}

/** A reboot of the node ends the pod, and kubelet forgets it. */
async function vanish(letter: string, last: "the volume's" | "the pod's" = "the pod's"): Promise<void> {
  await workspace.mounter.unmount(targetPathOf(letter));
  await removeDirectories(letter, last);
}

const volumeIds = () => workspace.pools.listEphemeral().map(({ id }) => id);

describe("an inline volume", () => {
  test("of a pod that kubelet forgot is removed without a trace", async () => {
    await publish("a");
    await vanish("a");
    await collector.collect();
    expect(volumeIds()).toEqual([]);
    expect(await readdir(workspace.path("disk", "volumes"))).toEqual([]);
    expect(await workspace.blockDevices.list()).toEqual([]);
  });

  test("of a pod that runs is kept over a restart of the driver", async () => {
    await publish("a");
    await workspace.reopen();
    open();
    await collector.collect();
    expect(workspace.mounter.entries).toHaveLength(1);
    expect(volumeIds()).toEqual([idOf("a")]);
  });

  test("whose own directory is gone, as after a failed publication, is kept while the pod's is there", async () => {
    await publish("a");
    await vanish("a", "the volume's");
    await collector.collect();
    expect(volumeIds()).toEqual([idOf("a")]);
  });

  test("is kept while kubelet's directory is not there, or not mounted", async () => {
    await publish("a");
    await workspace.mounter.unmount(targetPathOf("a"));
    await rename(workspace.path("kubelet"), workspace.path("elsewhere"));
    await collector.collect();
    await workspace.makeDirectory("kubelet");
    await collector.collect();
    expect(volumeIds()).toEqual([idOf("a")]);
  });

  test("is kept while its own place is there, whatever directory of kubelet the driver was given", async () => {
    await publish("a");
    await workspace.mounter.unmount(targetPathOf("a"));
    const kubeletDir = await workspace.makeDirectory("other");
    await workspace.makeDirectory("other", "pods");
    const { pools, logger } = workspace;
    await new LeftoverCollector({ pools, logger, ephemeral, kubeletDir, runLocked: (_keys, work) => work() }).collect();
    expect(volumeIds()).toEqual([idOf("a")]);
  });

  test("that cannot be removed hides no other", async () => {
    for (const letter of ["a", "b"]) await publish(letter);
    for (const letter of ["a", "b"]) await vanish(letter);
    workspace.blockDevices.failure = new BlockDeviceError("internal", "stuck");
    await collector.collect();
    expect(volumeIds()).toEqual([idOf("a")]);
  });

  test("that is published meanwhile is kept", async () => {
    await publish("a");
    await vanish("a");
    const run = lock.run.bind(lock);
    lock.run = async (keys, work) => {
      await run(keys, () => publish("a")); // kubelet is back, and was first
      return await run(keys, work);
    };
    await collector.collect();
    expect(workspace.mounter.entries).toMatchObject([{ mountPoint: targetPathOf("a") }]);
    expect(volumeIds()).toEqual([idOf("a")]);
  });

  test("is not published while it is removed", async () => {
    await publish("a");
    await vanish("a");
    const detach = workspace.blockDevices.detach.bind(workspace.blockDevices);
    let publication: Promise<void> | undefined;
    workspace.blockDevices.detach = async (volumeId) => {
      publication = lock.run([`volume ${idOf("a")}`], () => publish("a"));
      await detach(volumeId);
    };
    await collector.collect();
    await publication;
    expect(workspace.mounter.entries).toMatchObject([{ mountPoint: targetPathOf("a") }]);
    expect(volumeIds()).toEqual([idOf("a")]);
  });
});

test("a stop lets the removal that is going on end, and begins no other", async () => {
  for (const letter of ["a", "b"]) await publish(letter);
  for (const letter of ["a", "b"]) await vanish(letter);
  const [isHeld, end] = [createGate(), createGate()];
  const detach = workspace.blockDevices.detach.bind(workspace.blockDevices);
  workspace.blockDevices.detach = async (volumeId) => {
    isHeld.open();
    await end.opened;
    await detach(volumeId);
  };
  const collected = collector.collect();
  await isHeld.opened;
  expect(await collector.stop(1)).toBe(false);
  end.open();
  await collected;
  expect(await collector.stop(1)).toBe(true);
  expect(volumeIds()).toEqual([idOf("b")]);
});
