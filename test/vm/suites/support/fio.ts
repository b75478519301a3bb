import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { tryCommand } from "./run-command.js";

export type FioOptions = Record<string, string | number>;

/** What one job did. */
export interface FioResult {
  name: string;
  readIos: number;
  writeIos: number;
  /** Requests of both kinds each second, by fio's own clock. */
  iops: number;
}

interface FioDirection {
  total_ios: number;
  iops: number;
}

interface FioOutput {
  jobs: { jobname: string; error: number; read: FioDirection; write: FioDirection }[];
}

/** Every write is checked against its own checksum later, and the first wrong one ends the run. */
export const verifyOptions = { verify: "crc32c", verify_fatal: 1, do_verify: 1 } as const;

/** Runs jobs one after the other; an I/O error or a verification error in any of them is an error. */
export async function runFio(jobs: Record<string, FioOptions>, timeoutMs = 120_000): Promise<FioResult[]> {
  const directory = await mkdtemp(join(tmpdir(), "fio-"));
  try {
    const jobFile = join(directory, "jobs.fio");
    await writeFile(jobFile, formatJobs(jobs));
    const args = ["--output-format=json", `--aux-path=${directory}`, jobFile];
    const { exitCode, stdout, stderr } = await tryCommand("fio", args, { timeoutMs });
    if (exitCode !== 0) throw new Error(`fio: exit code ${exitCode}: ${stderr.trim() || stdout.slice(-2000)}`);
    return parseResults(stdout, stderr);
  } finally {
    await rm(directory, { recursive: true });
  }
}

function formatJobs(jobs: Record<string, FioOptions>): string {
  const sections = Object.entries(jobs).map(([name, options]) => {
    const lines = Object.entries(options).map(([key, value]) => `${key}=${value}`);
    return [`[${name}]`, "stonewall", ...lines, ""].join("\n");
  });
  return sections.join("\n");
}

function parseResults(stdout: string, stderr: string): FioResult[] {
  // Notes may come before the JSON.
  const { jobs } = JSON.parse(stdout.slice(stdout.indexOf("{"))) as FioOutput;
  const failed = jobs.filter(({ error }) => error !== 0);
  if (failed.length > 0) throw new Error(`fio: ${failed.map(({ jobname }) => jobname).join(", ")} failed: ${stderr}`);
  return jobs.map(({ jobname, read, write }) => ({
    name: jobname,
    readIos: read.total_ios,
    writeIos: write.total_ios,
    iops: read.iops + write.iops,
  }));
}
