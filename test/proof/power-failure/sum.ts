import { type CheckerCounts, countBad } from "../support/checker.js";

/** What the checkers of many inspections found. */
export class CheckerCountsSum {
  inspections = 0;
  /** Writes that had to be there, counted at every inspection anew. */
  writes = 0;
  bad = 0;

  add(counts: CheckerCounts): void {
    this.inspections++;
    this.writes += counts.writes;
    this.bad += countBad(counts) + counts.errors;
  }
}
