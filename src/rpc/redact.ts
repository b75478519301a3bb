/** The fields which CSI marks with the option `csi_secret`, in every message. A test compares this with the proto. */
export const secretFieldNames: ReadonlySet<string> = new Set(["secrets"]);

const replacement = "[secret]";

/** A copy of a request that may be logged: secret values replaced, the names of secrets and all else kept. */
export function redactSecrets(message: object): object {
  return Object.fromEntries(
    Object.entries(message).map(([name, value]) => [name, redactField(name, value as unknown)]),
  );
}

function redactField(name: string, value: unknown): unknown {
  if (secretFieldNames.has(name)) return hideValues(value);
  if (typeof value === "bigint") return value.toString();
  if (Array.isArray(value)) return value.map((item: unknown) => redactField("", item));
  return typeof value === "object" && value !== null ? redactSecrets(value) : value;
}

function hideValues(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return replacement;
  return Object.fromEntries(Object.keys(value).map((key) => [key, replacement]));
}
