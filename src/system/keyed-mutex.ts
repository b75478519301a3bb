/** Runs the actions of one key after one another, in the order they were asked for; other keys do not wait. */
export class KeyedMutex {
  private readonly tails = new Map<string, Promise<void>>();

  async run<T>(key: string, action: () => Promise<T>): Promise<T> {
    const before = this.tails.get(key) ?? Promise.resolve();
    const result = before.then(action);
    const tail = result.then(
      () => {},
      () => {},
    );
    this.tails.set(key, tail);
    try {
      return await result;
    } finally {
      if (this.tails.get(key) === tail) this.tails.delete(key);
    }
  }

  /** The keys with an action under way or waiting. */
  keys(): string[] {
    return [...this.tails.keys()];
  }

  /** Resolves when every action asked for so far has ended. */
  async drain(): Promise<void> {
    await Promise.all(this.tails.values());
  }
}
