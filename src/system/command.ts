import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { hasErrno } from "../errors.js";

/** Runs a program without a shell and resolves when it exits with 0; anything else is a CommandError. */
export type RunCommand = (program: string, args: readonly string[], options?: CommandOptions) => Promise<CommandResult>;

export interface CommandOptions {
  /** After this long the program is killed and the call fails, even when the program cannot die. */
  timeoutMs?: number;
  /** What the program reads on standard input, in no message of ours: the way for secrets. Default: nothing. */
  input?: Buffer;
  /** Kills the program; the call then fails once it has ended. */
  signal?: AbortSignal;
  /** Called when the program is there no more, which may be long after the call has failed. */
  onEnd?: () => void;
}

export interface CommandResult {
  stdout: string;
  stderr: string;
}

interface CommandFailure extends Partial<CommandResult> {
  exitCode?: number;
  timedOut?: boolean;
  cause?: unknown;
}

/** A program failed, took too long or is not installed. `exitCode` is undefined when it did not exit by itself. */
export class CommandError extends Error {
  override readonly name = "CommandError";
  readonly code = "command_failed";
  readonly exitCode: number | undefined;
  readonly timedOut: boolean;
  readonly stdout: string;
  readonly stderr: string;

  constructor(command: string, reason: string, details: CommandFailure) {
    const stderr = details.stderr?.trim() ?? "";
    super(`${command}: ${reason}${stderr === "" ? "" : `: ${stderr}`}`, { cause: details.cause });
    this.exitCode = details.exitCode;
    this.timedOut = details.timedOut ?? false;
    this.stdout = details.stdout ?? "";
    this.stderr = stderr;
  }
}

const defaultTimeoutMs = 60_000;
const outputBytesMax = 64 * 1024;

/** A RunCommand whose programs see this environment. */
export function createCommandRunner(environment: Record<string, string | undefined>): RunCommand {
  return (program, args, options = {}) =>
    new Promise((resolve, reject) => {
      const command = [program, ...args].join(" ");
      const child = spawn(program, args, { env: environment, stdio: "pipe", shell: false });
      child.stdin.on("error", () => undefined); // a program that does not read its input closes it early
      child.stdin.end(options.input);
      const stdout = collectOutput(child.stdout);
      const stderr = collectOutput(child.stderr);
      const kill = () => child.kill("SIGKILL");
      options.signal?.addEventListener("abort", kill);
      child.once("exit", () => {
        options.signal?.removeEventListener("abort", kill);
        options.onEnd?.();
      });
      if (options.signal?.aborted === true) kill();
      const timeoutMs = options.timeoutMs ?? defaultTimeoutMs;
      const timer = setTimeout(() => {
        abandon(child);
        const details = { stderr: stderr(), timedOut: true };
        reject(new CommandError(command, `no result after ${timeoutMs} ms, killed`, details));
      }, timeoutMs);
      child.once("error", (cause) => {
        clearTimeout(timer);
        const reason = hasErrno(cause, "ENOENT") ? `program not found, install ${program}` : cause.message;
        reject(new CommandError(command, reason, { cause }));
      });
      child.once("close", (exitCode, signal) => {
        clearTimeout(timer);
        const result = { stdout: stdout(), stderr: stderr() };
        if (exitCode === 0) return resolve(result);
        const details = exitCode === null ? result : { ...result, exitCode };
        reject(new CommandError(command, exitCode === null ? `killed by ${signal}` : `exit code ${exitCode}`, details));
      });
    });
}

/** Keeps the beginning of a stream and drains the rest, so that a chatty program neither blocks nor fills memory. */
function collectOutput(stream: NodeJS.ReadableStream): () => string {
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  stream.on("data", (chunk: Buffer) => {
    if (sizeBytes >= outputBytesMax) return;
    const kept = chunk.subarray(0, outputBytesMax - sizeBytes);
    chunks.push(kept);
    sizeBytes += kept.length;
  });
  return () => Buffer.concat(chunks).toString("utf8");
}

// A program in uninterruptible sleep survives SIGKILL for a while; it must not keep our process or its pipes alive.
function abandon(child: ChildProcessWithoutNullStreams): void {
  child.kill("SIGKILL");
  child.stdout.destroy();
  child.stderr.destroy();
  child.unref();
}
