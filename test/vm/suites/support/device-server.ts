import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { DeviceOptions, DeviceParams, RecoverOptions, Target } from "../../../../src/ublk/index.js";
import { repositoryPath } from "./repository.js";

/** Where a target has a backend, the name of one in file-backend.js. */
type JsonTarget = Target | { kind: "js"; backend: { file: string } | "deaf" };

/** With `freezeMs` the device is frozen for so long as soon as it answers I/O; `dieAt` is a fail point of the engine. */
type Request = (
  | { create: [Omit<DeviceParams, "target"> & { target: JsonTarget }, Omit<DeviceOptions, "ownerTag">] }
  | { recover: [number, JsonTarget, Omit<RecoverOptions, "ownerTag">] }
) & { freezeMs?: number; dieAt?: string };

const script = join(repositoryPath, "test/vm/suites/support/serve-device.js");

/** A process that serves one device through the built library. */
export class DeviceServer {
  private constructor(
    /** For signals other than those below. */
    readonly process: ChildProcess,
    readonly deviceId: number,
  ) {}

  /** Resolves when the device answers I/O. The prefix is a command that runs the server, say as another user. */
  static async start(request: Request, prefix: readonly string[] = []): Promise<DeviceServer> {
    const [program = process.execPath, ...args] = [...prefix, process.execPath, script, JSON.stringify(request)];
    const child = spawn(program, args, { stdio: ["pipe", "pipe", "inherit"] });
    for await (const line of createInterface({ input: child.stdout })) {
      const deviceId = /^serving (\d+)$/.exec(line)?.[1];
      if (deviceId !== undefined) return new DeviceServer(child, Number(deviceId));
    }
    if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
    const end = child.signalCode ?? `exit code ${child.exitCode}`;
    throw new Error(`the server of ${JSON.stringify(request)} ended with ${end} before it served; its output is above`);
  }

  get pid(): number | undefined {
    return this.process.pid;
  }

  /** Dies as in a crash. */
  async kill(): Promise<void> {
    const exited = once(this.process, "exit");
    this.process.kill("SIGKILL");
    await exited;
  }

  /** Exits of its own accord, without a word to the library. Resolves with the exit code. */
  async exit(): Promise<number | null> {
    const exited = once(this.process, "exit");
    this.process.stdin?.end();
    await exited;
    return this.process.exitCode;
  }
}
