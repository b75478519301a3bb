import { expect, test } from "@jest/globals";
import { CommandError, createCommandRunner } from "./command.js";

const runCommand = createCommandRunner({ PATH: "/usr/sbin:/usr/bin:/sbin:/bin" });

async function failureOf(promise: Promise<unknown>): Promise<CommandError> {
  const error = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(CommandError);
  return error as CommandError;
}

test("resolves with the output of a program that succeeds", async () => {
  expect(await runCommand("printf", ["%s", "a b"])).toEqual({ stdout: "a b", stderr: "" });
});

test("a program gets its input, and no error repeats it", async () => {
  const input = Buffer.from("hidden\n");
  expect((await runCommand("cat", [], { input })).stdout).toBe("hidden\n");
  const error = await failureOf(runCommand("sh", ["-c", "cat > /dev/null; exit 1"], { input }));
  expect(JSON.stringify({ ...error, message: error.message, stack: error.stack })).not.toContain("hidden");
});

test("arguments never meet a shell", async () => {
  expect((await runCommand("printf", ["%s", "$(id); `id`"])).stdout).toBe("$(id); `id`");
});

test("a failing program is reported with command, exit code and stderr", async () => {
  const error = await failureOf(runCommand("sh", ["-c", "echo broken >&2; exit 3"]));
  expect(error.message).toBe("sh -c echo broken >&2; exit 3: exit code 3: broken");
  expect(error.exitCode).toBe(3);
  expect(error.stderr).toBe("broken");
});

test("a program that is not installed is named", async () => {
  const error = await failureOf(runCommand("mkfs.nothing", ["/dev/null"]));
  expect(error.message).toContain("program not found, install mkfs.nothing");
});

test("a program that takes too long is killed and reported", async () => {
  const error = await failureOf(runCommand("sleep", ["60"], { timeoutMs: 50 }));
  expect(error.message).toBe("sleep 60: no result after 50 ms, killed");
  expect(error).toMatchObject({ exitCode: undefined, timedOut: true });
});

test("the end of a program is told, also after the call for it has failed", async () => {
  const ended: string[] = [];
  await runCommand("true", [], { onEnd: () => ended.push("true") });
  expect(ended).toEqual(["true"]);
  // The grandchild keeps the pipe of its output, which the call waits for, beyond the end of the program.
  const onEnd = () => ended.push("sh");
  const error = await failureOf(runCommand("sh", ["-c", "sleep 1 & exit 0"], { timeoutMs: 200, onEnd }));
  expect(error.timedOut).toBe(true);
  expect(ended).toEqual(["true", "sh"]);
  const late = new Promise<void>((resolve) => {
    void failureOf(runCommand("sleep", ["60"], { timeoutMs: 50, onEnd: resolve }));
  });
  await late;
});

test("a program killed from outside is reported with the signal", async () => {
  const error = await failureOf(runCommand("sh", ["-c", "kill -TERM $$"]));
  expect(error.message).toContain("killed by SIGTERM");
});

test("output beyond the limit is dropped without blocking the program", async () => {
  const { stdout } = await runCommand("head", ["-c", "1000000", "/dev/zero"]);
  expect(stdout.length).toBe(64 * 1024);
});
