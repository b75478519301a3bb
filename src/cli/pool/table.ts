/** Rows under their headings, in columns that are as wide as they have to be. */
export function formatTable(headings: readonly string[], rows: ReadonlyArray<readonly string[]>): string {
  const lines = [headings, ...rows];
  const widths = headings.map((_heading, column) => Math.max(...lines.map((line) => (line[column] ?? "").length)));
  return lines
    .map(
      (line) =>
        `${line
          .map((cell, column) => cell.padEnd(widths[column] ?? 0))
          .join("  ")
          .trimEnd()}\n`,
    )
    .join("");
}

const units = ["", "Ki", "Mi", "Gi", "Ti", "Pi"];

/** A size for people: three digits or so, and the unit that leaves as many. */
export function formatBytes(bytes: bigint): string {
  let value = Number(bytes);
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${Number(value.toPrecision(value >= 100 ? 4 : 3))}${units[unit]}`;
}

/** JSON with sizes as strings, since numbers of JSON end at 53 bits. */
export function formatJson(value: unknown): string {
  const text = JSON.stringify(value, (_key, each: unknown) => (typeof each === "bigint" ? each.toString() : each), 2);
  return `${text}\n`;
}
