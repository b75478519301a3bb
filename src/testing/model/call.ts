import { join } from "node:path";
import type { MethodDefinition } from "@grpc/grpc-js";
import { VolumeCapability_AccessMode_Mode as Mode, type VolumeCapability } from "../../gen/csi/csi.js";
import type { Access, World } from "./world.js";

/** A call of an RPC, and what has to come of it. */
export interface Call<Request = unknown, Response = unknown> {
  method: MethodDefinition<Request, Response>;
  request: Partial<Request>;
  code: string;
  /** After the expected OK: compares the answer, and tells the model. */
  apply?: (response: Response) => void;
  /** Of a call that is a success and changes something: what undoes it, whether it was done or not. */
  undo?: () => Call;
}

/** Calls of any types can be made alike. */
export function toCall<Request, Response>(call: Call<Request, Response>): Call {
  return call as unknown as Call;
}

export function stagingPath(world: World, slot: number): string {
  return join(world.kubeletDir, `volume-${slot}`, "staging");
}

export function targetPath(world: World, slot: number, target: number): string {
  return join(world.kubeletDir, `volume-${slot}`, `target-${target}`);
}

export function toCapability(access: Access): VolumeCapability {
  const accessMode = { mode: Mode.SINGLE_NODE_WRITER };
  if (access === "block") return { accessType: { $case: "block", value: {} }, accessMode };
  const value = { fsType: "ext4", mountFlags: [], volumeMountGroup: "" };
  return { accessType: { $case: "mount", value }, accessMode };
}

export function assertEqual(what: string, found: unknown, expected: unknown): void {
  const [left, right] = [show(found), show(expected)];
  if (left !== right) throw new Error(`${what}: found ${left}, expected ${right}`);
}

function show(value: unknown): string {
  return JSON.stringify(value, (_name, each: unknown) => (typeof each === "bigint" ? `${each}n` : each)) ?? "undefined";
}
