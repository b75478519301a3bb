import { toMessage } from "../../errors.js";
import { CommandError, type CommandResult } from "../../system/command.js";

const reportLengthMax = 800;

/** The words of a checker, with its exit code when it was not 0. Any other failure is told as it is. */
export async function reportOf(check: Promise<CommandResult>): Promise<string> {
  try {
    const { stdout, stderr } = await check;
    return shorten(`${stdout}\n${stderr}`);
  } catch (error) {
    if (!(error instanceof CommandError) || error.exitCode === undefined) return toMessage(error);
    return `exit code ${error.exitCode}: ${shorten(`${error.stdout}\n${error.stderr}`)}`;
  }
}

/** On one line, and short enough for an event: the beginning names the trouble, the end the verdict. */
export function shorten(report: string): string {
  const line = report.trim().replaceAll(/\s*\n\s*/g, " | ");
  if (line.length <= reportLengthMax) return line;
  const half = reportLengthMax / 2;
  return `${line.slice(0, half)} ... ${line.slice(-half)}`;
}
