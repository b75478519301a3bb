import { type CheckerCounts, countBad } from "./checker.js";

/** The figures of one proof, and whatever went wrong in it. */
export class Verdict {
  kills = 0;
  /** Those of the kills that hit a named point. */
  namedKills = 0;
  /** How often a device came and went between the kills. */
  churnRounds = 0;
  handOvers = 0;
  /** Hand-overs in which one side was killed. */
  brokenHandOvers = 0;
  acknowledgedWrites = 0;
  verifiedBlocks = 0;
  lostBlocks = 0;
  applicationErrors = 0;
  readonly pausesMs: number[] = [];
  readonly problems: string[] = [];

  addLoad(counts: CheckerCounts, findings = ""): void {
    this.acknowledgedWrites += counts.writes;
    this.verifiedBlocks += counts.verifiedBlocks;
    this.lostBlocks += countBad(counts);
    this.applicationErrors += counts.errors;
    if (findings !== "") this.problems.push(findings);
  }

  addProblem(where: string, error: unknown): void {
    const problem = `${where}: ${error instanceof Error ? error.message : String(error)}`;
    this.problems.push(problem);
    // At once, too: a proof that then hangs has said what came before.
    process.stdout.write(`problem so far: ${problem}\n`);
  }

  get isGood(): boolean {
    return this.lostBlocks === 0 && this.applicationErrors === 0 && this.problems.length === 0;
  }

  /** `min 12, median 40, max 900 ms`. */
  get pauses(): string {
    const sorted = this.pausesMs.map(Math.round).sort((left, right) => left - right);
    if (sorted.length === 0) return "none measured";
    return `min ${sorted[0]}, median ${sorted[Math.floor(sorted.length / 2)]}, max ${sorted.at(-1)} ms`;
  }

  /** Prints what went wrong and the closing line; returns the exit code. */
  close(summary: string): number {
    for (const problem of this.problems) process.stdout.write(`problem: ${problem}\n`);
    process.stdout.write(`${summary}: ${this.isGood ? "passed" : "FAILED"}\n`);
    return this.isGood ? 0 : 1;
  }
}
