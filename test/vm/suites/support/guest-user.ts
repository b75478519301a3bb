import { chown } from "node:fs/promises";
import { join } from "node:path";
import { repositoryPath } from "./repository.js";
import { runCommand, tryCommand } from "./run-command.js";

const callLibrary = join(repositoryPath, "test/vm/suites/support/call-library.js");

/** A user of the guest who is not root. */
export class GuestUser {
  private constructor(
    readonly userId: number,
    readonly groupId: number,
    private readonly groups: string,
  ) {}

  /** Makes the user, with a group of its own name, and as a member of further groups. */
  static async create(name: string, groups: string[] = []): Promise<GuestUser> {
    await runCommand("useradd", [
      "--no-create-home",
      "--user-group",
      ...groups.flatMap((group) => ["-G", group]),
      name,
    ]);
    const [userId, groupId] = (await runCommand("bash", ["-c", `id -u ${name}; id -g ${name}`]))
      .split("\n")
      .map(Number);
    return new GuestUser(userId as number, groupId as number, groups.join(","));
  }

  /** The words that run a command as this user, without any capability. */
  get prefix(): string[] {
    const groups = this.groups === "" ? ["--clear-groups"] : [`--groups=${this.groups}`];
    return ["setpriv", `--reuid=${this.userId}`, `--regid=${this.groupId}`, ...groups, "--inh-caps=-all"];
  }

  async owns(path: string): Promise<void> {
    await chown(path, this.userId, this.groupId);
  }

  async run(program: string, args: readonly string[]): Promise<string> {
    const [setpriv, ...options] = this.prefix;
    return await runCommand(setpriv as string, [...options, program, ...args]);
  }

  async exitCode(program: string, args: readonly string[]): Promise<number> {
    const [setpriv, ...options] = this.prefix;
    return (await tryCommand(setpriv as string, [...options, program, ...args])).exitCode;
  }

  /** Calls a function of the built library in a process of this user; what it rejects with comes back as `error`. */
  // biome-ignore lint/suspicious/noExplicitAny: tests pick from what the function gives
  async call(name: string, ...args: unknown[]): Promise<any> {
    return JSON.parse(await this.run(process.execPath, [callLibrary, name, JSON.stringify(args)]));
  }
}
