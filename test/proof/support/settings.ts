/** Where results go that outlive the guest. */
export const resultsPath = readText("UBLK_RESULTS", "/tmp");

export function readText(name: string, otherwise: string): string {
  return process.env[name] || otherwise;
}

export function readNumber(name: string, otherwise: number): number {
  const value = Number(readText(name, String(otherwise)));
  if (Number.isInteger(value) && value > 0) return value;
  throw new RangeError(`${name} is "${process.env[name]}", expected a positive number`);
}
