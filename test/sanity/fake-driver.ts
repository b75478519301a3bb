import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { createDriver } from "../../src/driver.js";
import { FakeBlockDevices } from "../../src/engine/testing/fake-block-devices.js";
import { createLogger } from "../../src/log.js";
import { FakeFilesystems } from "../../src/node/testing/fake-filesystems.js";
import { FakeMounter } from "../../src/node/testing/fake-mounter.js";
import { openPools } from "../../src/pools/pool/open-pools.js";
import { openSnapshots } from "../../src/pools/snapshots/open-snapshots.js";
import { createCommandRunner } from "../../src/system/command.js";
import { FakeImageFiles } from "../../src/system/testing/fake-image-files.js";

/** The real services on a real socket, above block devices, mounts and file systems that need neither root nor ublk. */
async function main(directory: string): Promise<void> {
  const logger = createLogger("info");
  const runCommand = createCommandRunner(process.env);
  const poolDirectory = join(directory, "pool");
  await mkdir(poolDirectory, { recursive: true });
  const memoryFilesystems = {
    ensure: async (path: string) => {
      await mkdir(path, { recursive: true });
    },
  };
  const imageFiles = new FakeImageFiles();
  const pools = await openPools(
    [
      { kind: "file", name: "disk", directory: poolDirectory },
      { kind: "memory", name: "memory", budgetBytes: 2n * 1024n ** 3n },
    ],
    {
      stateDir: directory,
      nodeId: "fake-node",
      memoryFilesystems,
      runCommand,
      imageFiles,
      lockPool: async () => undefined,
      logger,
    },
  );
  const mounter = new FakeMounter();
  const blockDevices = new FakeBlockDevices(join(directory, "devices"));
  blockDevices.isInUse = (device) => mounter.uses(device.path);
  const snapshots = await openSnapshots({ pools, blockDevices, imageFiles, logger });
  const server = createDriver(
    { driverName: "csi.ublk.io", version: "0.0.0", nodeId: "fake-node" },
    {
      socketPath: join(directory, "csi.sock"),
      volumeCountMax: 0n,
      kubeletDir: directory,
      pools,
      blockDevices,
      snapshots,
      mounter,
      filesystems: new ForgetfulFilesystems(),
      checkHealth: async () => undefined,
      logger,
    },
  );
  await server.start();
  process.once("SIGTERM", () => void server.stop(5_000));
}

/** Device names are used again for other volumes here, so nothing is remembered by name. */
class ForgetfulFilesystems extends FakeFilesystems {
  override async probe(devicePath: string): Promise<string | undefined> {
    this.contents.delete(devicePath);
    return undefined;
  }
}

await main(process.argv[2] ?? "/nonexistent");
