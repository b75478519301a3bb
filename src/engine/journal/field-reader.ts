/** A value of JSON that must be an object. */
export function expectObject(value: unknown): Record<string, unknown> {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw new TypeError("expected a JSON object");
}

/** Reads the fields of an object that came from outside; a field that is wrong is a TypeError which names it. */
export class FieldReader {
  constructor(private readonly record: Record<string, unknown>) {}

  oneOf<const T>(name: string, values: readonly T[]): T {
    const value = this.record[name];
    return values.includes(value as T) ? (value as T) : this.fail(name, values.map((one) => String(one)).join(" or "));
  }

  integer(name: string): number {
    const value = this.record[name];
    return Number.isSafeInteger(value) && (value as number) >= 0
      ? (value as number)
      : this.fail(name, "a whole number");
  }

  text(name: string): string {
    const value = this.record[name];
    return typeof value === "string" && value !== "" ? value : this.fail(name, "a text");
  }

  texts(name: string): string[] {
    const value = this.record[name];
    return Array.isArray(value) && value.every((one) => typeof one === "string") ? value : this.fail(name, "texts");
  }

  bigint(name: string): bigint {
    const value = this.text(name);
    return /^(0x[0-9a-f]+|\d+)$/.test(value) ? BigInt(value) : this.fail(name, "a number in a string");
  }

  private fail(name: string, expected: string): never {
    throw new TypeError(`${name} is ${JSON.stringify(this.record[name])}; expected ${expected}`);
  }
}
