const unitBytes: Record<string, bigint> = {
  "": 1n,
  k: 1000n,
  M: 1000n ** 2n,
  G: 1000n ** 3n,
  T: 1000n ** 4n,
  Ki: 1024n,
  Mi: 1024n ** 2n,
  Gi: 1024n ** 3n,
  Ti: 1024n ** 4n,
};

/** What `fromByteSize` reads, for messages. */
export const byteSizeForm = "a whole number of bytes, or one with k, M, G, T, Ki, Mi, Gi, Ti";

/** A number of bytes as Kubernetes writes it, 1073741824, 1Gi or 1G; undefined when the text has another form. */
export function fromByteSize(text: string): bigint | undefined {
  const match = /^([0-9]{1,18})([kMGT]|[KMGT]i)?$/.exec(text);
  const unit = unitBytes[match?.[2] ?? ""];
  return match?.[1] === undefined || unit === undefined ? undefined : BigInt(match[1]) * unit;
}
