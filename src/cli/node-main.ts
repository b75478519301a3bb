import { readCommandEnvironment, readEnvironment } from "../config.js";
import { EngineClient } from "../daemon/engine-client.js";
import { createUblkBlockDevices } from "../engine/create-ublk-block-devices.js";
import { KernelImageFiles } from "../engine/image-files.js";
import { reportKernel } from "../engine/report-kernel.js";
import { createLogger } from "../log.js";
import { createLuksMapping } from "../node/encryption/create-luks-mapping.js";
import { LinuxFilesystems } from "../node/filesystems/filesystems.js";
import { FilesystemLook } from "../node/mounts/filesystem-look.js";
import { LinuxMounter } from "../node/mounts/mounter.js";
import { TmpfsFilesystems } from "../pools/pool/memory-filesystem.js";
import { createCommandRunner } from "../system/command.js";
import { readMountInfo } from "../system/mountinfo.js";
import { readVersion } from "../system/version.js";
import { loadUblk } from "../ublk/ublk.js";
import { runProgram } from "./program.js";
import { runNode } from "./run-node.js";

/** Every command but the engine. Returns the exit code. */
export async function main(args: readonly string[]): Promise<number> {
  const stop = new AbortController();
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => stop.abort());
  const version = readVersion();
  const runCommand = createCommandRunner(readCommandEnvironment());
  const writeError = (line: string) => void process.stderr.write(`${line}\n`);
  return await runProgram(args, {
    version,
    environment: readEnvironment(),
    writeError,
    runPool: async (command) =>
      (await import("./pool/run-pool.js")).runPool(
        command,
        {
          runCommand,
          imageFiles: new KernelImageFiles(),
          filesystems: new LinuxFilesystems(runCommand),
          readMounts: readMountInfo,
          sysfs: "/sys",
          signal: stop.signal,
        },
        { writeOut: (text) => void process.stdout.write(text), writeError },
      ),
    runNode: (config) => {
      const logger = createLogger(config.logLevel);
      const looks = new FilesystemLook(runCommand);
      return runNode(
        config,
        {
          version,
          logger,
          runCommand,
          imageFiles: new KernelImageFiles(),
          mounter: new LinuxMounter(runCommand, looks),
          filesystems: new LinuxFilesystems(runCommand, looks),
          createMapping: (pools) => createLuksMapping(pools, runCommand, logger),
          memoryFilesystems: new TmpfsFilesystems(runCommand),
          createBlockDevices: ({ stateDir, engineSocketPath }) =>
            engineSocketPath === undefined
              ? createUblkBlockDevices({ ...config, stateDir, logger })
              : new EngineClient(engineSocketPath),
          checkKernel: () => reportKernel(loadUblk(config), logger),
        },
        stop.signal,
      );
    },
  });
}
