import type { ConfigFile } from "./cli/config-schema.js";
import {
  ConfigError,
  parseByteSize,
  parseDirectory,
  parseDriverName,
  parseEndpoint,
  parseLogLevel,
  parseMetricsEndpoint,
  parseNodeId,
  parsePoolFlag,
} from "./cli/values.js";
import type { LogLevel } from "./log-levels.js";
import type { MetricsEndpoint } from "./metrics/metrics-server.js";
import type { EphemeralRules } from "./pools/parameters/ephemeral-rules.js";
import type { PoolRequest } from "./pools/pool/open-pools.js";

/** Everything that the node process can be told, checked. */
export interface NodeConfig {
  socketPath: string;
  nodeId: string;
  stateDir: string;
  /** Kubelet's directory: every path that it names for a volume lies below. */
  kubeletDir: string;
  /** The socket of the engine that owns the devices; undefined when this process serves them itself. */
  engineSocketPath: string | undefined;
  /** Where metrics are served; undefined when they are not. */
  metricsEndpoint?: MetricsEndpoint | undefined;
  driverName: string;
  logLevel: LogLevel;
  /** Serve on a kernel that is known to break. */
  allowBrokenKernel: boolean;
  /** Those of the configuration file before those of the flags; the first is the default for volumes that name none. */
  pools: PoolRequest[];
  /** What pods may have as inline volumes. Default: `defaultEphemeralRules`. */
  ephemeral?: EphemeralRules | undefined;
}

/** The flags of `ublk-csi node` as typed. */
export interface NodeFlags {
  endpoint?: string | undefined;
  nodeId?: string | undefined;
  stateDir: string;
  kubeletDir: string;
  engine?: string | undefined;
  metricsEndpoint?: string | undefined;
  driverName: string;
  logLevel: string;
  allowBrokenKernel?: boolean;
  /** The path of a configuration file. */
  config?: string | undefined;
  pools: Array<{ flag: "--pool" | "--memory-pool"; text: string }>;
}

/** The environment variables that the driver knows. Flags win over them. */
export interface Environment {
  endpoint: string | undefined;
  nodeId: string | undefined;
}

/** The only place that reads the process' environment. */
export function readEnvironment(): Environment {
  return { endpoint: process.env.CSI_ENDPOINT, nodeId: process.env.NODE_ID };
}

/** Where a crash test wants the engine to end; see engine/fail-point.ts. */
export function readFailPoint(): string | undefined {
  return process.env.UBLK_CSI_DIE_AT;
}

/** What programs started by the driver see: English messages, and a path that has mkfs and mount. */
export function readCommandEnvironment(): Record<string, string | undefined> {
  const { PATH = "" } = process.env;
  return { ...process.env, PATH: `${PATH}:/usr/sbin:/usr/bin:/sbin:/bin`, LC_ALL: "C.UTF-8" };
}

/** Checks flags and environment and adds what the configuration file has; the first thing wrong is a ConfigError. */
export function createNodeConfig(flags: NodeFlags, environment: Environment, file: ConfigFile = {}): NodeConfig {
  const pools = joinPools(file.pools ?? [], flags.pools);
  assertPoolsExist(file.ephemeral, pools);
  return {
    socketPath: parseEndpoint(requireValue("--endpoint", flags.endpoint ?? environment.endpoint, "CSI_ENDPOINT")),
    nodeId: parseNodeId(requireValue("--node-id", flags.nodeId ?? environment.nodeId, "NODE_ID")),
    stateDir: parseDirectory("--state-dir", flags.stateDir),
    kubeletDir: parseDirectory("--kubelet-dir", flags.kubeletDir),
    engineSocketPath: flags.engine === undefined ? undefined : parseEndpoint(flags.engine, "--engine"),
    metricsEndpoint: flags.metricsEndpoint === undefined ? undefined : parseMetricsEndpoint(flags.metricsEndpoint),
    driverName: parseDriverName(flags.driverName),
    logLevel: parseLogLevel(flags.logLevel),
    allowBrokenKernel: flags.allowBrokenKernel ?? false,
    pools,
    ephemeral: file.ephemeral,
  };
}

function requireValue(flag: string, value: string | undefined, variable: string): string {
  if (value !== undefined && value !== "") return value;
  throw new ConfigError(`${flag} is required: give the flag, or set ${variable}`);
}

function assertPoolsExist(ephemeral: EphemeralRules | undefined, pools: readonly PoolRequest[]): void {
  const names = pools.map((pool) => pool.name);
  const unknown = ephemeral?.poolNames?.find((name) => !names.includes(name));
  if (unknown === undefined) return;
  throw new ConfigError(`--config: ephemeral.pools names "${unknown}", this node has the pools ${names.join(", ")}`);
}

/** The pools of a configuration file, then those of the flags; none, or two of one name, are a ConfigError. */
export function joinPools(ofFile: readonly PoolRequest[], flags: NodeFlags["pools"]): PoolRequest[] {
  const pools = [...ofFile, ...flags.map(({ flag, text }) => parsePool(flag, text))];
  if (pools.length === 0) {
    throw new ConfigError(
      "at least one --pool NAME=DIR or --memory-pool NAME=BYTES, or pools in --config, is required",
    );
  }
  const names = pools.map((pool) => pool.name);
  const repeated = names.find((name, position) => names.indexOf(name) !== position);
  if (repeated === undefined) return pools;
  throw new ConfigError(`pool name "${repeated}" is given twice: every pool needs a name of its own`);
}

function parsePool(flag: "--pool" | "--memory-pool", text: string): PoolRequest {
  const { name, value } = parsePoolFlag(flag, text);
  if (flag === "--pool") return { kind: "file", name, directory: parseDirectory(`${flag} ${name}`, value) };
  return { kind: "memory", name, budgetBytes: parseByteSize(`${flag} ${name}`, value) };
}
