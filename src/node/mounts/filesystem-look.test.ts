import { execFileSync } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "@jest/globals";
import { CommandError, type CommandOptions, type CommandResult, type RunCommand } from "../../system/command.js";
import { rejectionOf, runRealCommand } from "../../testing/workspace.js";
import { FilesystemLook } from "./filesystem-look.js";
import { LinuxMounter } from "./mounter.js";

interface Started {
  command: string;
  options: CommandOptions;
  succeed(stdout: string): void;
  fail(details: { exitCode?: number; timedOut?: boolean }): void;
}

/** Programs that end when a test says so. */
function createPrograms(): { started: Started[]; runCommand: RunCommand } {
  const started: Started[] = [];
  const runCommand: RunCommand = (program, args, options = {}) =>
    new Promise<CommandResult>((resolve, reject) => {
      const command = [program, ...args].join(" ");
      const succeed = (stdout: string) => resolve({ stdout, stderr: "" });
      started.push({ command, options, succeed, fail: (details) => reject(new CommandError(command, "bad", details)) });
    });
  return { started, runCommand };
}

const silence = { code: "unavailable", message: expect.stringContaining("/pod has not answered for 5 s") };

test("looks at one place that are the same are one, and the next begins when it is over", async () => {
  const { started, runCommand } = createPrograms();
  const look = new FilesystemLook(runCommand).at("/pod");
  const [one, two] = [look("find", ["/pod"]), look("find", ["/pod"])];
  expect(started.map(({ command }) => command)).toEqual(["find /pod"]);
  started[0]?.succeed("a");
  expect(await Promise.all([one, two])).toMatchObject([{ stdout: "a" }, { stdout: "a" }]);
  const three = look("find", ["/pod"]);
  started[1]?.fail({ exitCode: 1 });
  expect(await rejectionOf(three)).toMatchObject({ exitCode: 1 });
  const four = look("find", ["/pod"]);
  started[2]?.succeed("d");
  expect((await four).stdout).toBe("d");
});

test("another look at the same place waits for its turn, at another place not", async () => {
  const { started, runCommand } = createPrograms();
  const looks = new FilesystemLook(runCommand);
  const one = looks.at("/pod")("find", ["/pod"]);
  const two = looks.at("/pod")("stat", ["/pod"]);
  const three = looks.at("/other")("stat", ["/other"]);
  expect(started.map(({ command }) => command)).toEqual(["find /pod", "stat /other"]);
  started[0]?.succeed("");
  await one;
  started[1]?.succeed("");
  await three;
  expect(started[2]?.command).toBe("stat /pod");
  started[2]?.succeed("it");
  expect((await two).stdout).toBe("it");
});

test("a place that does not answer is not looked at again until the program is gone", async () => {
  const { started, runCommand } = createPrograms();
  const look = new FilesystemLook(runCommand).at("/pod");
  const [one, other] = [look("find", ["/pod"]), look("stat", ["/pod"])];
  expect(started[0]?.options.timeoutMs).toBe(5_000);
  started[0]?.fail({ timedOut: true });
  for (const late of [one, other, look("find", ["/pod"]), look("stat", ["/pod"])]) {
    expect(await rejectionOf(late)).toMatchObject(silence);
  }
  expect(started).toHaveLength(1);
  started[0]?.options.onEnd?.();
  const next = look("find", ["/pod"]);
  started[1]?.succeed("well");
  expect((await next).stdout).toBe("well");
});

test("the end of an earlier program does not forget the look that goes on", async () => {
  const { started, runCommand } = createPrograms();
  const look = new FilesystemLook(runCommand).at("/pod");
  const first = look("find", ["/pod"]);
  started[0]?.options.onEnd?.();
  const [second, joined] = [look("find", ["/pod"]), look("find", ["/pod"])];
  started[0]?.succeed("first");
  expect((await first).stdout).toBe("first");
  const third = look("find", ["/pod"]);
  expect(started).toHaveLength(2);
  started[1]?.succeed("second");
  expect(await Promise.all([second, joined, third])).toMatchObject(Array(3).fill({ stdout: "second" }));
});

test("more places that hang than this process has threads for files do not stop it", async () => {
  const directory = await mkdtemp(join(tmpdir(), "ublk-csi-test-"));
  const places = [0, 1, 2, 3, 4, 5].map((number) => join(directory, `fifo${number}`));
  for (const place of places) execFileSync("mkfifo", [place]);
  const looks = new FilesystemLook(runRealCommand);
  // Opening a FIFO that nobody writes to waits, as reading a directory of a disk that hangs does.
  const hung = places.map((place) => looks.at(place)("cat", [place], { timeoutMs: 200 }));
  expect((await new LinuxMounter(runRealCommand, looks).list()).length).toBeGreaterThan(0);
  for (const one of hung) expect(await rejectionOf(one)).toMatchObject({ code: "unavailable" });
  await rm(directory, { recursive: true });
});
