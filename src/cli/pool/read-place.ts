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
