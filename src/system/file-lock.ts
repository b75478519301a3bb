import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { DriverError, hasErrno } from "../errors.js";

/** Holds a lock file for this process until released, or until the process ends in whatever way. */
export interface FileLock {
  /** The process that has the lock for us. */
  holderPid: number | undefined;
  release(): Promise<void>;
}

export interface FileLockOptions {
  /** For the message when somebody else has it, for example "state directory /var/lib/ublk-csi". */
  what: string;
  /** A predecessor that was just killed lets go a moment later. */
  waitSeconds?: number | "forever";
  /** Ends the wait for the lock, which then is rejected. */
  signal?: AbortSignal;
  /** Called when the lock is lost although nobody released it. */
  onLost?: () => void;
}

/** Somebody else has the lock. Every other failure says nothing about that. */
export class LockConflict extends DriverError {}

const conflictExitCode = 75;

/**
 * Node has no flock(2), so a child of util-linux' flock holds it: `cat`, which ends when our end of its input closes.
 * Programs started later do not inherit that end, so the lock lives exactly as long as this process.
 */
export async function acquireFileLock(path: string, options: FileLockOptions): Promise<FileLock> {
  const { what, waitSeconds = 5, signal, onLost = () => undefined } = options;
  const limit = waitSeconds === "forever" ? [] : ["--wait", `${waitSeconds}`];
  const args = ["--no-fork", ...limit, "--conflict-exit-code", `${conflictExitCode}`, path, "cat"];
  // A session of its own: Ctrl-C in a terminal must not end the lock before the shutdown has.
  const holder = spawn("flock", args, { stdio: "pipe", detached: true });
  const giveUp = () => holder.kill("SIGKILL");
  signal?.addEventListener("abort", giveUp);
  const exited = new Promise<number | null>((resolve) => holder.once("close", resolve));
  if (!(await isAcquired(holder, what))) throw await describeFailure(path, what, await exited);
  await writeFile(path, `${process.pid}\n`).catch(() => undefined); // for people; a full disk must not keep us from locking
  signal?.removeEventListener("abort", giveUp);
  let isReleased = false;
  void exited.then(() => isReleased || onLost());
  return {
    holderPid: holder.pid,
    release: async () => {
      isReleased = true;
      holder.stdin.end();
      await exited;
    },
  };
}

/** What the holder echoes it can only have read after it got the lock. */
function isAcquired(holder: ChildProcessWithoutNullStreams, what: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    holder.stdout.once("data", () => resolve(true));
    holder.once("close", () => resolve(false));
    holder.once("error", (cause) => {
      const reason = hasErrno(cause, "ENOENT") ? "the program flock is missing, install util-linux" : cause.message;
      reject(new DriverError("refused", `cannot lock ${what}: ${reason}`, { cause }));
    });
    holder.stdin.on("error", () => undefined); // it exited; "close" tells
    holder.stdin.write("locked\n");
  });
}

async function describeFailure(path: string, what: string, exitCode: number | null): Promise<DriverError> {
  if (exitCode !== conflictExitCode) {
    return new DriverError("refused", `cannot lock ${what}: flock ${path} ended with ${exitCode}, is it writable?`);
  }
  const holder = (await readFile(path, "utf8").catch(() => "")).trim();
  const owner = /^[0-9]+$/.test(holder) ? `process ${holder}` : "another process";
  return new LockConflict("refused", `${what} is in use by ${owner}: stop it, or choose another`);
}
