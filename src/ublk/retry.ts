const firstPauseMs = 5;
const longestPauseMs = 200;

/** Attempts until one gives something, at growing intervals; the last attempt is told so, and has to throw. */
export async function retryUntil<T>(waitMs: number, attempt: (isLast: boolean) => Promise<T | undefined>): Promise<T> {
  const deadline = performance.now() + waitMs;
  for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(pauseMs * 2, longestPauseMs)) {
    const isLast = performance.now() >= deadline;
    const result = await attempt(isLast);
    if (result !== undefined) return result;
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
}
