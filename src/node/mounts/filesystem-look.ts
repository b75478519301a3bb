import { DriverError } from "../../errors.js";
import { CommandError, type CommandResult, type RunCommand } from "../../system/command.js";

interface Program {
  program: string;
  args: readonly string[];
  timeoutMs: number;
}

interface Look {
  command: string;
  timeoutMs: number;
  result: Promise<CommandResult>;
}

/** Less than any caller waits. */
const answerMsMax = 5_000;

/**
 * Looks at mounted file systems, and at devices, by programs. A disk that does not answer keeps whoever looks at what lies on
 * it in the kernel, where no signal reaches: this process has four threads for files, and with the last of them it could not
 * even read the mount table. A place has one look at a time, until the program is really gone, so that it keeps one process
 * however often it is asked for.
 */
export class FilesystemLook {
  private readonly looks = new Map<string, Look>();

  constructor(private readonly runCommand: RunCommand) {}

  /**
   * Runs programs that look at this place, and change nothing. One that waits for another look longer than that may take, or has
   * no result in five seconds or the time given, fails with `unavailable`. The same look at the same time is done once.
   */
  at(place: string): RunCommand {
    return async (program, args, { timeoutMs = answerMsMax } = {}) =>
      await this.run(place, { program, args, timeoutMs });
  }

  private async run(place: string, program: Program): Promise<CommandResult> {
    const command = [program.program, ...program.args].join(" ");
    for (;;) {
      const current = this.looks.get(place);
      if (current === undefined) return await this.start(place, command, program);
      if (current.command === command) return await current.result;
      await current.result.catch(() => undefined); // whoever asked for it hears of that
      if (this.looks.get(place) === current) throw silent(place, current.timeoutMs);
    }
  }

  private start(place: string, command: string, { program, args, timeoutMs }: Program): Promise<CommandResult> {
    const forget = () => {
      if (this.looks.get(place) === look) this.looks.delete(place);
    };
    const running = this.runCommand(program, args, { timeoutMs, onEnd: forget });
    const result = running.catch((error: unknown) => {
      if (isLate(error)) throw silent(place, timeoutMs);
      throw error;
    });
    const look: Look = { command, timeoutMs, result };
    this.looks.set(place, look);
    // One that is late is forgotten when its program ends.
    running.then(forget, (error: unknown) => isLate(error) || forget());
    return result;
  }
}

function isLate(error: unknown): boolean {
  return error instanceof CommandError && error.timedOut;
}

function silent(place: string, timeoutMs: number): DriverError {
  const message = `${place} has not answered for ${timeoutMs / 1000} s`;
  return new DriverError("unavailable", `${message}: look in the kernel log for a disk that hangs`);
}
