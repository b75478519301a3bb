/** What a caller passed, for a message. JavaScript has values that refuse to become a text. */
export function showValue(value: unknown): string {
  try {
    return typeof value === "string" ? JSON.stringify(value) : String(value);
  } catch {
    return Object.prototype.toString.call(value);
  }
}
