import { mkdir, rm } from "node:fs/promises";
import { release } from "node:os";
import { join } from "node:path";
import {
  GetPluginInfoRequest,
  IdentityService,
  NodeGetInfoRequest,
  NodeService,
  ProbeRequest,
} from "../../src/gen/csi/csi.js";
import { makePoolFolder, mountPoolDisk, type PoolPlace } from "../vm/suites/support/pool-place.js";
import { repositoryPath } from "../vm/suites/support/repository.js";
import { TestBed } from "../vm/suites/support/test-bed.js";
import { showCrash } from "./crash.js";
import { Printer } from "./printer.js";
import { showVolumeLife } from "./volume-life.js";

const mebibyte = 1024 ** 2;
const outputPath = join(repositoryPath, ".cache/demo/output");
const logPath = join(outputPath, "driver.log");
/** Not below the checkout: the path of a unix socket has room for 107 bytes only. */
const directory = `/run/ublk-csi-demo-${process.pid}`;

const printer = new Printer(process.stdout, process.stdout.isTTY || process.env.UBLK_DEMO_COLOUR === "yes");

try {
  await showAll();
  printer.line("\ndemo: passed");
} catch (error) {
  const [what, ...details] = (error instanceof Error ? error.message : String(error)).split("\n");
  for (const line of details) printer.line(line);
  printer.line(`\ndemo: failed: ${what} (see ${logPath})`);
  process.exitCode = 1;
}

async function showAll(): Promise<void> {
  printer.title(`Driver on Linux ${release()}${process.env.VM_KERNEL === undefined ? "" : ", in a guest"}`);
  await mkdir(outputPath, { recursive: true });
  await rm(logPath, { force: true });
  const bed = await printer.step(
    "driver starts",
    () => TestBed.startIn(directory, preparePlace, { logPath }),
    ({ driver }) => `process ${driver.pid} serves ${driver.client.socketPath}`,
  );
  try {
    await showDriver(bed);
    await showVolumes(bed);
  } catch (error) {
    // The first failure is the one to tell of.
    await bed.dispose().catch(() => undefined);
    throw error;
  }
  printer.title("The end");
  await printer.step(
    "driver ends",
    () => bed.dispose(),
    () => "no device, mount, process or file of it is left",
  );
}

async function showDriver({ driver }: TestBed): Promise<void> {
  const { client } = driver;
  await printer.step(
    "GetPluginInfo",
    () => client.call(IdentityService.getPluginInfo, GetPluginInfoRequest.fromPartial({})),
    ({ name, vendorVersion }) => `${name} ${vendorVersion}`,
  );
  await printer.step(
    "Probe",
    () => client.call(IdentityService.probe, ProbeRequest.fromPartial({})),
    () => "ready",
  );
  await printer.step(
    "NodeGetInfo",
    () => client.call(NodeService.nodeGetInfo, NodeGetInfoRequest.fromPartial({})),
    ({ nodeId, maxVolumesPerNode }) =>
      `node ${nodeId}, ${maxVolumesPerNode === 0n ? "any number of" : `up to ${maxVolumesPerNode}`} volumes`,
  );
}

async function showVolumes(bed: TestBed): Promise<void> {
  printer.title("A volume in a file");
  const file = { name: "demo-file", sizeBytes: 512 * mebibyte, access: { kind: "mount", fsType: "xfs" } } as const;
  await showVolumeLife(printer, bed.volume(file));
  printer.title("A volume in memory");
  const memory = { name: "demo-memory", sizeBytes: 128 * mebibyte, access: { kind: "mount", fsType: "ext4" } } as const;
  await showVolumeLife(printer, bed.volume({ ...memory, parameters: { pool: "memory" } }));
  printer.title("A crash of the driver while a volume is written");
  const crash = { name: "demo-crash", sizeBytes: 128 * mebibyte, access: { kind: "mount", fsType: "ext4" } } as const;
  await showCrash(printer, bed, bed.volume({ ...crash, parameters: { provisioning: "thin" } }));
}

function preparePlace(): Promise<PoolPlace> {
  const isGuest = process.env.VM_DISK0 !== undefined;
  return isGuest ? mountPoolDisk(join(directory, "disk")) : makePoolFolder(join(repositoryPath, ".cache/demo/pool"));
}
