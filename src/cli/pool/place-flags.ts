import type { Command } from "commander";
import { type Environment, joinPools, type NodeFlags } from "../../config.js";
import { readConfigFile } from "../config-file-on-demand.js";
import { parseDirectory, parseDriverName, parseNodeId } from "../values.js";
import type { PoolPlace } from "./pool-command.js";

/** What the flags of every pool command are, as typed. */
export interface PlaceFlags {
  stateDir: string;
  kubeletDir: string;
  driverName: string;
  nodeId?: string;
  config?: string;
  json?: boolean;
}

/** Adds the flags that say where pools are. `pools` gets those that are given, in their order. */
export function addPlaceFlags(command: Command, pools: NodeFlags["pools"]): void {
  const addPool = (flag: "--pool" | "--memory-pool") => (text: string) => void pools.push({ flag, text });
  command
    .option("--config <file>", "the driver's YAML file with pools")
    .option("--pool <name=dir>", "a file pool, as the driver has it; repeatable", addPool("--pool"))
    .option("--memory-pool <name=size>", "a memory pool, as the driver has it; repeatable", addPool("--memory-pool"))
    .option("--state-dir <dir>", "the driver's state directory", "/var/lib/ublk-csi")
    .option("--kubelet-dir <dir>", "kubelet's directory", "/var/lib/kubelet")
    .option("--node-id <name>", "this node's name in the cluster (environment: NODE_ID)")
    .option("--driver-name <name>", "name of the CSI driver", "csi.ublk.io")
    .option("--json", "print JSON");
}

/** Checks the flags, and adds what environment and configuration file have. */
export async function readPlace(
  flags: PlaceFlags,
  pools: NodeFlags["pools"],
  environment: Environment,
): Promise<PoolPlace> {
  const file = flags.config === undefined ? undefined : await readConfigFile(flags.config);
  const nodeId = flags.nodeId ?? environment.nodeId;
  return {
    stateDir: parseDirectory("--state-dir", flags.stateDir),
    kubeletDir: parseDirectory("--kubelet-dir", flags.kubeletDir),
    driverName: parseDriverName(flags.driverName),
    nodeId: nodeId === undefined || nodeId === "" ? undefined : parseNodeId(nodeId),
    pools: joinPools(file?.pools ?? [], pools),
  };
}
