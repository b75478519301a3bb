import type { Latencies } from "./latencies.js";

/** A Markdown table: one line for each call, median and p99 for each column's number of volumes. */
export function formatTable(columns: ReadonlyMap<string, Latencies>): string {
  const names = [...new Set([...columns.values()].flatMap((latencies) => latencies.names))];
  const head = ["RPC", ...[...columns.keys()].flatMap((column) => [`median, ${column}`, `p99, ${column}`])];
  const rule = head.map((_, index) => (index === 0 ? "---" : "---:"));
  const lines = names.map((name) => [name, ...[...columns.values()].flatMap((latencies) => cells(latencies, name))]);
  return [head, rule, ...lines].map((line) => `| ${line.join(" | ")} |`).join("\n");
}

function cells(latencies: Latencies, name: string): string[] {
  const { medianMs, p99Ms, count } = latencies.summarise(name);
  return count === 0 ? ["", ""] : [format(medianMs), format(p99Ms)];
}

const format = (durationMs: number): string => durationMs.toFixed(durationMs < 10 ? 2 : 0);
