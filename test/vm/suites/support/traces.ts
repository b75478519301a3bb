import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { ControllerService, GetCapacityRequest } from "../../../../src/gen/csi/csi.js";
import { findMountsBelow } from "./mounts.js";
import type { TestBed } from "./test-bed.js";

/** What a driver has on disk and in the kernel for its volumes and snapshots, by path; and what it has booked. */
export interface Traces {
  paths: string[];
  availableBytes: bigint[];
}

/** Of a bed without volumes this is what has to be there again when all that was made is removed. */
export async function readTraces(bed: TestBed): Promise<Traces> {
  const places = [bed.poolPath, join(bed.stateDir, "memory/memory"), join(bed.stateDir, "engine")];
  const files = (await Promise.all(places.map(listTree))).flat();
  const devices = (await readdir("/dev")).filter((name) => /^ublk[bc]\d/.test(name)).map((name) => `/dev/${name}`);
  const mappings = (await readdir("/dev/mapper").catch(() => [])).map((name) => `/dev/mapper/${name}`);
  const kubelet = join(bed.directory, "kubelet");
  const mounts = findMountsBelow(kubelet).map(({ mountPoint }) => `mount ${mountPoint}`);
  const paths = [...files, ...devices, ...mappings, ...mounts, ...(await listTree(kubelet))].sort();
  return { paths, availableBytes: [await readAvailable(bed, "disk"), await readAvailable(bed, "memory")] };
}

async function listTree(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true }).catch(() => []);
  return entries.map((name) => join(directory, name));
}

async function readAvailable({ driver }: TestBed, pool: string): Promise<bigint> {
  const request = GetCapacityRequest.fromPartial({ parameters: { pool } });
  const { availableCapacity } = await driver.client.call(ControllerService.getCapacity, request);
  return availableCapacity;
}
