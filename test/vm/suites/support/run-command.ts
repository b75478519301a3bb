import { type ExecFileException, execFile } from "node:child_process";

/** What a program printed, and how it ended. */
export interface CommandOutcome {
  exitCode: number;
  stdout: string;
  stderr: string;
}

export interface RunOptions {
  /** Default two minutes, long even for an emulated kernel; then the program is killed and the call fails. */
  timeoutMs?: number;
  input?: string;
}

const defaultTimeoutMs = 120_000;
const outputBytesMax = 64 * 1024 ** 2;

/** Runs a program and returns its standard output; any exit code but 0 is an error that shows what it printed. */
export async function runCommand(program: string, args: readonly string[], options?: RunOptions): Promise<string> {
  const { exitCode, stdout, stderr } = await tryCommand(program, args, options);
  if (exitCode === 0) return stdout;
  throw new Error(`${[program, ...args].join(" ")}: exit code ${exitCode}: ${stderr.trim() || stdout.trim()}`);
}

/** Runs a program to its end, however it ends; only a time-out or a program that is not there is an error. */
export function tryCommand(
  program: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<CommandOutcome> {
  const { timeoutMs = defaultTimeoutMs, input } = options;
  const settings = { timeout: timeoutMs, killSignal: "SIGKILL", maxBuffer: outputBytesMax } as const;
  return new Promise((resolve, reject) => {
    const child = execFile(program, args, settings, (error, stdout, stderr) => {
      if (error === null) return resolve({ exitCode: 0, stdout, stderr });
      if (typeof error.code === "number") return resolve({ exitCode: error.code, stdout, stderr });
      reject(
        new Error(`${[program, ...args].join(" ")}: ${describeEnd(error, timeoutMs)}: ${stderr}`, { cause: error }),
      );
    });
    child.stdin?.on("error", () => undefined); // a program that does not read its input closes it early
    child.stdin?.end(input);
  });
}

function describeEnd(error: ExecFileException, timeoutMs: number): string {
  return error.killed ? `killed after ${timeoutMs} ms` : (error.signal ?? String(error.code ?? error.message));
}
