import { Command, CommanderError } from "commander";
import { createNodeConfig, type Environment, type NodeConfig, type NodeFlags } from "../config.js";
import { readConfigFile } from "./config-file-on-demand.js";
import { addPlaceFlags } from "./place-flags.js";
import type { PoolCommand } from "./pool/pool-command.js";
import { addPoolCommands } from "./pool/pool-program.js";
import { ConfigError } from "./values.js";

export interface ProgramParts {
  version: string;
  environment: Environment;
  /** Runs the node until it is told to stop, and returns the exit code. */
  runNode: (config: NodeConfig) => Promise<number>;
  /** Runs a command on pools, and returns the exit code. */
  runPool: (command: PoolCommand) => Promise<number>;
  writeError: (line: string) => void;
}

const usageExitCode = 2;

/** Understands the command line and runs the command. Returns the exit code: 2 for a command line that is wrong. */
export async function runProgram(args: readonly string[], parts: ProgramParts): Promise<number> {
  let exitCode = 0;
  const program = createProgram(parts, (code) => {
    exitCode = code;
  });
  try {
    await program.parseAsync(args, { from: "user" });
    return exitCode;
  } catch (error) {
    if (error instanceof ConfigError) {
      parts.writeError(`ublk-csi: ${error.message}`);
      return usageExitCode;
    }
    if (!(error instanceof CommanderError)) throw error;
    return error.exitCode === 0 ? 0 : usageExitCode;
  }
}

function createProgram(parts: ProgramParts, setExitCode: (code: number) => void): Command {
  const writeOut = (text: string) => parts.writeError(toErrorLine(text));
  const program = new Command("ublk-csi")
    .description("Fast local block storage for Kubernetes: a CSI driver over Linux ublk devices.")
    .version(parts.version, "-V, --version", "print the version")
    .configureOutput({ writeErr: writeOut })
    .showSuggestionAfterError(false)
    .exitOverride();
  program.allowExcessArguments().action(() => {
    const [given] = program.args;
    program.error(
      given === undefined ? "a command is missing: give node, engine or pool" : `unknown command '${given}'`,
    );
  });
  const run = async (command: PoolCommand) => setExitCode(await parts.runPool(command));
  addPoolCommands(program, { environment: parts.environment, run });
  program.command("engine").description("Own the ublk devices of this node, in a process apart from the CSI services.");
  const pools: NodeFlags["pools"] = [];
  const node = program
    .command("node")
    .description("Serve the CSI identity, controller and node services for the volumes of this node.")
    .option("--endpoint <url>", "socket to serve, such as unix:///csi/csi.sock (environment: CSI_ENDPOINT)")
    .option(
      "--engine <url>",
      "socket of the ublk-csi engine that owns the devices; default: serve them in this process",
    )
    .option(
      "--metrics-endpoint <url>",
      "where to serve Prometheus metrics, such as http://127.0.0.1:9810; default: nowhere",
    );
  addPlaceFlags(node, pools)
    .option("--log-level <level>", "trace, debug, info, warn, error or fatal", "info")
    .option("--allow-broken-kernel", "serve on a kernel that is known to break, at your own risk")
    .addHelpText(
      "after",
      "\nThe first pool, of the file or else of the flags, is the one for volumes whose StorageClass names none.",
    )
    .allowExcessArguments(false)
    .action(async (options: Omit<NodeFlags, "pools">) => {
      const file = options.config === undefined ? undefined : await readConfigFile(options.config);
      setExitCode(await parts.runNode(createNodeConfig({ ...options, pools }, parts.environment, file)));
    });
  return program;
}

/** Commander's own words with our name, on one line. */
function toErrorLine(text: string): string {
  return `ublk-csi: ${text
    .trim()
    .replace(/^error: /, "")
    .replaceAll("\n", " ")} (see --help)`;
}
