import { createSilentLogger } from "../../../log.js";
import { LinuxFilesystems } from "../../../node/filesystems/filesystems.js";
import type { PoolRequest } from "../../../pools/pool/open-pools.js";
import type { Volume } from "../../../pools/volume/volume.js";
import type { MountEntry } from "../../../system/mountinfo.js";
import { blockCapability, mebibyte, runRealCommand, type Workspace } from "../../../testing/workspace.js";
import type { PoolCommand } from "../pool-command.js";
import type { PoolParts } from "../pool-outcome.js";
import { runPool } from "../run-pool.js";

type Verb = PoolCommand extends infer Each ? (Each extends unknown ? Omit<Each, "place" | "isJson"> : never) : never;

/** What a pool command printed, and how it ended. */
export interface PoolResult {
  exitCode: number;
  text: string;
  error: string;
}

/** Runs pool commands on the pools of a workspace, whose driver is not running. */
export class PoolBench {
  readonly logger = createSilentLogger();
  mounts: MountEntry[] = [];
  nodeId: string | undefined = "node-a";
  /** Besides those of the workspace. */
  morePools: PoolRequest[] = [];
  readonly parts: PoolParts;

  constructor(readonly workspace: Workspace) {
    this.parts = {
      runCommand: (program, args, options) => workspace.runCommand(program, args, options),
      imageFiles: workspace.imageFiles,
      filesystems: new LinuxFilesystems(runRealCommand),
      readMounts: async () => this.mounts,
      sysfs: workspace.path("sys"),
      signal: new AbortController().signal,
    };
  }

  /** A small raw volume of the default pool. */
  async createVolume(name: string): Promise<Volume> {
    const range = { requiredBytes: 2n * mebibyte };
    return await this.workspace.provisioner.create({ name, range, capabilities: [blockCapability], parameters: {} });
  }

  async run(verb: Verb, { isJson = false } = {}): Promise<PoolResult> {
    const { directory: stateDir, poolRequests } = this.workspace;
    const pools = [...poolRequests, ...this.morePools];
    const place = { stateDir, kubeletDir: "/var/lib/kubelet", driverName: "csi.ublk.io", nodeId: this.nodeId, pools };
    const result: PoolResult = { exitCode: 0, text: "", error: "" };
    result.exitCode = await runPool({ place, isJson, ...verb } as PoolCommand, this.parts, {
      writeOut: (text) => {
        result.text += text;
      },
      writeError: (line) => {
        result.error += line;
      },
    });
    return result;
  }

  /** Runs a command, and reads what it prints for programs. */
  async runJson(verb: Verb): Promise<{ exitCode: number; answer: Record<string, unknown> }> {
    const { exitCode, text, error } = await this.run(verb, { isJson: true });
    if (text === "") throw new Error(error);
    return { exitCode, answer: JSON.parse(text) as Record<string, unknown> };
  }
}
