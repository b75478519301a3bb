import { parseArgs } from "node:util";
import type { LogLevel } from "../log-levels.js";
import { socketPathBytesMax } from "../rpc/unix-socket.js";
import { ConfigError, parseDirectory, parseEndpoint, parseLogLevel } from "./values.js";

/** Everything that the engine process can be told, checked. */
export interface EngineConfig {
  socketPath: string;
  stateDir: string;
  logLevel: LogLevel;
  /** Serve on a kernel that is known to break. */
  allowBrokenKernel: boolean;
  /** Ask the engine that serves now for its devices. */
  takeOver: boolean;
  /** Say what start-up would do, and change nothing. */
  dryRun: boolean;
  /** For crash tests only: see engine/fail-point.ts. */
  dieAt?: string | undefined;
}

/** While it is bound the engine's socket has a longer name: a dot and a process id. */
const ownNameBytesMax = 11;

export const engineHelp = `Usage: ublk-csi engine [options]

Own the ublk devices of this node, in a process apart from the CSI services.

Options:
  --endpoint <url>     socket to serve, in a directory of mode 0700 (default: "unix:///run/ublk-csi-engine/engine.sock")
  --state-dir <dir>    where the journal of the devices lives (default: "/var/lib/ublk-csi")
  --take-over          let the engine that serves now hand its devices over; without one, start as ever
  --dry-run            print what start-up would do, and change nothing
  --log-level <level>  trace, debug, info, warn, error or fatal (default: "info")
  --allow-broken-kernel  serve on a kernel that is known to break, at your own risk
  -h, --help           display help for command
`;

/** Understands the flags after `engine`; undefined when they ask for help. The first thing wrong is a ConfigError. */
export function parseEngineConfig(args: readonly string[]): EngineConfig | undefined {
  const flags = parseFlags(args);
  if (flags.help) return undefined;
  if (flags["take-over"] && flags["dry-run"]) {
    throw new ConfigError("--dry-run changes nothing and --take-over does: give one of them");
  }
  return {
    socketPath: parseEndpoint(flags.endpoint, "--endpoint", socketPathBytesMax - ownNameBytesMax),
    stateDir: parseDirectory("--state-dir", flags["state-dir"]),
    logLevel: parseLogLevel(flags["log-level"]),
    allowBrokenKernel: flags["allow-broken-kernel"],
    takeOver: flags["take-over"],
    dryRun: flags["dry-run"],
  };
}

function parseFlags(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        endpoint: { type: "string", default: "unix:///run/ublk-csi-engine/engine.sock" },
        "state-dir": { type: "string", default: "/var/lib/ublk-csi" },
        "take-over": { type: "boolean", default: false },
        "dry-run": { type: "boolean", default: false },
        "log-level": { type: "string", default: "info" },
        "allow-broken-kernel": { type: "boolean", default: false },
        help: { type: "boolean", short: "h", default: false },
      },
    }).values;
  } catch (error) {
    const [reason] = (error as Error).message.split(/\.? To specify|\n/);
    throw new ConfigError(`${reason} (see ublk-csi engine --help)`);
  }
}
