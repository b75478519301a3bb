/** How long calls took, by what they were. */
export class Latencies {
  private readonly samples = new Map<string, number[]>();

  /** Times one call. A failure is no sample. */
  async time<T>(name: string, call: () => Promise<T>): Promise<T> {
    const startedAt = performance.now();
    const answer = await call();
    const durationMs = performance.now() - startedAt;
    this.samples.set(name, [...(this.samples.get(name) ?? []), durationMs]);
    return answer;
  }

  get names(): string[] {
    return [...this.samples.keys()];
  }

  /** Median and 99th percentile in milliseconds, and of how many calls. */
  summarise(name: string): { medianMs: number; p99Ms: number; count: number } {
    const sorted = (this.samples.get(name) ?? []).toSorted((left, right) => left - right);
    const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
    return { medianMs: at(0.5), p99Ms: at(0.99), count: sorted.length };
  }
}
