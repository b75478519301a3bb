import { dieAtCommand } from "../ublk/fail-point.js";
import type { Journal } from "./journal/journal.js";

type Moment = "before" | "after";
type Reach = (moment: Moment, step: string, volumeId: string) => void;

/**
 * For crash tests: ends this process, as by SIGKILL, at a named point. All that outlives an engine is what it told the
 * kernel and what it wrote into its journal, so every point is right before or after one of these: `before:ADD_DEV`,
 * `after:journal-serving`, `before:journal-remove`, or with a volume `before:journal-remove:some-volume`. Returns the
 * journal to work with.
 */
export function withFailPoint(journal: Journal, point: string | undefined, dieAt = dieAtCommand): Journal {
  if (point === undefined || point === "") return journal;
  if (/^(before|after):journal-[a-z-]+(:[a-z0-9-]+)?$/.test(point)) return new MortalJournal(journal, toReach(point));
  if (dieAt(point)) return journal;
  throw new RangeError(`fail point "${point}": expected before: or after: and a control command, or journal-STATE`);
}

function toReach(point: string): Reach {
  return (moment, step, volumeId) => {
    const name = `${moment}:${step}`;
    if (point === name || point === `${name}:${volumeId}`) process.kill(process.pid, "SIGKILL");
  };
}

class MortalJournal implements Journal {
  readonly read: Journal["read"];
  readonly readAll: Journal["readAll"];
  readonly removeUnwritten: Journal["removeUnwritten"];

  constructor(
    private readonly journal: Journal,
    private readonly reach: Reach,
  ) {
    this.read = (volumeId) => journal.read(volumeId);
    this.readAll = () => journal.readAll();
    this.removeUnwritten = (volumeId) => journal.removeUnwritten(volumeId);
  }

  async write(entry: Parameters<Journal["write"]>[0]): Promise<void> {
    const state = entry.resizingToBytes === undefined ? entry.state : "resizing";
    await this.around(`journal-${state}`, entry.volumeId, () => this.journal.write(entry));
  }

  async remove(volumeId: string): Promise<void> {
    await this.around("journal-remove", volumeId, () => this.journal.remove(volumeId));
  }

  private async around(step: string, volumeId: string, change: () => Promise<void>): Promise<void> {
    this.reach("before", step, volumeId);
    await change();
    this.reach("after", step, volumeId);
  }
}
