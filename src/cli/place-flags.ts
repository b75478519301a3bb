import type { Command } from "commander";
import type { NodeFlags } from "../config.js";

/** Adds the flags that say where pools are, alike for the driver and the pool commands. `pools` gets those that are given. */
export function addPlaceFlags(command: Command, pools: NodeFlags["pools"]): Command {
  const addPool = (flag: "--pool" | "--memory-pool") => (text: string) => void pools.push({ flag, text });
  return command
    .option("--node-id <name>", "this node's name in the cluster (environment: NODE_ID)")
    .option("--state-dir <dir>", "where journal and memory pools live", "/var/lib/ublk-csi")
    .option("--kubelet-dir <dir>", "kubelet's directory, below which volumes are mounted", "/var/lib/kubelet")
    .option("--config <file>", "YAML file with pools and their settings, besides the flags")
    .option("--pool <name=dir>", "directory for volumes, on xfs, ext4 or btrfs; repeatable", addPool("--pool"))
    .option("--memory-pool <name=size>", "memory for volumes, such as 4Gi; repeatable", addPool("--memory-pool"))
    .option("--driver-name <name>", "name of the CSI driver", "csi.ublk.io");
}
