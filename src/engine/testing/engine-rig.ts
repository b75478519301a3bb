import { join } from "node:path";
import { afterEach, beforeEach, expect } from "@jest/globals";
import type { AdoptionEntry, BlockDeviceSpec } from "../block-devices.js";
import type { UblkBlockDevices } from "../ublk-block-devices.js";
import { FakeNode, toSpec } from "./fake-node.js";

export const mebibyte = 1 << 20;

/** A node with one engine and one image of 1 MiB, made anew for each test. */
export class EngineRig {
  node!: FakeNode;
  engine!: UblkBlockDevices;
  image!: string;
  /** Of the image, as volume `one`. */
  spec!: BlockDeviceSpec;

  async setUp(): Promise<void> {
    this.node = await FakeNode.create();
    this.engine = this.node.startEngine();
    this.image = await this.node.createImage("image", mebibyte);
    this.spec = toSpec("one", this.image, mebibyte);
  }

  /** The journal's entry of the volume. */
  get entryPath(): string {
    return join(this.node.journalFolder, "one.json");
  }

  /** The only line of the report of a new engine's adoption, after the old one was killed. */
  async adoptionAfterKill(): Promise<AdoptionEntry | undefined> {
    this.engine = this.node.restartAfterKill();
    const { entries } = await this.engine.adopt();
    expect(entries).toHaveLength(1);
    return entries[0];
  }
}

/** To be called once by a file of tests. */
export function useEngineRig(): EngineRig {
  const rig = new EngineRig();
  beforeEach(() => rig.setUp());
  afterEach(() => rig.node.destroy());
  return rig;
}
