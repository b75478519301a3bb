import { join } from "node:path";
import { type DriverSettings, kubeletDirectoryOf } from "./driver-process.js";
import { repositoryPath } from "./repository.js";
import { type CommandOutcome, tryCommand } from "./run-command.js";

const program = join(repositoryPath, "dist/bin/ublk-csi.js");

/** The command line of `ublk-csi pool` for the pools of a driver. */
export function poolArguments(settings: DriverSettings, args: readonly string[]): string[] {
  const { directory, pools = {}, nodeId = "node-1", stateDir = join(directory, "state") } = settings;
  const where = ["--state-dir", stateDir, "--kubelet-dir", kubeletDirectoryOf(settings), "--node-id", nodeId];
  const named = Object.entries(pools).flatMap(([name, path]) => ["--pool", `${name}=${path}`]);
  return [program, "pool", ...args, ...where, ...named];
}

/** Runs a command on the pools of a driver, to whatever end. */
export async function tryPool(settings: DriverSettings, ...args: string[]): Promise<CommandOutcome> {
  return await tryCommand(process.execPath, poolArguments(settings, args));
}

/** Runs a command that has to succeed, and reads what it prints for programs. */
export async function runPool<Answer>(settings: DriverSettings, ...args: string[]): Promise<Answer> {
  const { exitCode, stdout, stderr } = await tryPool(settings, ...args, "--json");
  if (exitCode === 0) return JSON.parse(stdout) as Answer;
  throw new Error(`ublk-csi pool ${args.join(" ")}: exit code ${exitCode}: ${stderr || stdout}`);
}
