#!/usr/bin/env node
import { runProgram } from "./cli/program.js";
import { runNode } from "./cli/run-node.js";
import { readCommandEnvironment, readEnvironment } from "./config.js";
import { createUblkBlockDevices } from "./engine/create-ublk-block-devices.js";
import { createLogger } from "./log.js";
import { LinuxFilesystems } from "./node/filesystems.js";
import { LinuxMounter } from "./node/mounter.js";
import { TmpfsFilesystems } from "./pools/memory-filesystem.js";
import { createCommandRunner } from "./system/command.js";
import { getFeatures } from "./ublk/index.js";
import { readVersion } from "./version.js";

const stop = new AbortController();
for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => stop.abort());

const version = readVersion();
const runCommand = createCommandRunner(readCommandEnvironment());

process.exitCode = await runProgram(process.argv.slice(2), {
  version,
  environment: readEnvironment(),
  writeError: (line) => process.stderr.write(`${line}\n`),
  runNode: (config) => {
    const logger = createLogger(config.logLevel);
    return runNode(
      config,
      {
        version,
        logger,
        runCommand,
        mounter: new LinuxMounter(runCommand),
        filesystems: new LinuxFilesystems(runCommand),
        memoryFilesystems: new TmpfsFilesystems(runCommand),
        createBlockDevices: (stateDir) => createUblkBlockDevices({ stateDir, logger }),
        checkKernel: async () => logger.info({ features: await getFeatures() }, "kernel serves ublk devices"),
      },
      stop.signal,
    );
  },
});
