import type { Logger } from "../../log.js";
import type { Pools } from "../../pools/pool/pools.js";
import type { RunCommand } from "../../system/command.js";
import { LinuxFilesystems } from "../filesystems/filesystems.js";
import { blankEnds } from "./blank-ends.js";
import { CryptsetupLuks } from "./luks.js";
import { LuksMapping } from "./luks-mapping.js";
import { SysfsMappedDevices } from "./mapped-devices.js";

/** Encryption by cryptsetup and the kernel's dm-crypt. */
export function createLuksMapping(pools: Pools, runCommand: RunCommand, logger: Logger): LuksMapping {
  return new LuksMapping({
    pools,
    luks: new CryptsetupLuks(runCommand),
    mappedDevices: new SysfsMappedDevices(),
    filesystems: new LinuxFilesystems(runCommand),
    blankEnds,
    logger: logger.child({ component: "encryption" }),
  });
}
