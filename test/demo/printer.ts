/** Writes what the demo does in aligned columns: what, how long, and what came of it. */
export class Printer {
  constructor(
    private readonly stream: NodeJS.WritableStream,
    private readonly coloured: boolean,
  ) {}

  title(text: string): void {
    this.line(`\n${this.paint("1", text)}`);
  }

  /** Runs one step and prints it with its duration. `describe` tells what came of it. */
  async step<T>(name: string, action: () => Promise<T>, describe?: (result: T) => string): Promise<T> {
    const startedAt = performance.now();
    try {
      const result = await action();
      this.row(this.paint("32", name.padEnd(nameColumns)), startedAt, describe?.(result) ?? "");
      return result;
    } catch (error) {
      this.row(this.paint("31", name.padEnd(nameColumns)), startedAt, this.paint("31", "failed"));
      throw new Error(`${name}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
    }
  }

  /** A fact that belongs to the step above it. */
  note(text: string): void {
    this.line(`  ${" ".repeat(nameColumns + durationColumns)}    ${text}`);
  }

  line(text: string): void {
    this.stream.write(`${text}\n`);
  }

  private row(name: string, startedAt: number, text: string): void {
    const duration = `${(performance.now() - startedAt).toFixed(1).padStart(durationColumns - 3)} ms`;
    this.line(`  ${name}${this.paint("2", duration)}    ${text}`.trimEnd());
  }

  private paint(code: string, text: string): string {
    return this.coloured ? `\u001b[${code}m${text}\u001b[0m` : text;
  }
}

const nameColumns = 32;
const durationColumns = 10;
