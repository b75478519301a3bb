/** Looks that see no progress before a stall is one: with a look each 30 s, longer than an emulated start takes. */
const looksMax = 4;

/** Tells once of each stall: when a figure has been the same over some looks. */
export class StallWatch {
  private seen = -1;
  private looks = 0;

  constructor(
    private readonly read: () => number,
    private readonly tell: () => Promise<void>,
  ) {}

  look(): void {
    const now = this.read();
    this.looks = now === this.seen ? this.looks + 1 : 0;
    this.seen = now;
    if (this.looks !== looksMax) return;
    this.tell().catch((error: unknown) => process.stdout.write(`a stall could not be recorded: ${error}\n`));
  }
}
