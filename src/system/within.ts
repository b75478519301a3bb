/** What the work comes to, or the error of being late when that takes longer; the work goes on then, and is not heard. */
export async function within<T>(limitMs: number, work: Promise<T>, toLateError: () => Error): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(toLateError()), limitMs);
  });
  return await Promise.race([work, late]).finally(() => clearTimeout(timer));
}
