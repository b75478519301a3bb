import { expect, test } from "@jest/globals";
import { createLineLogger } from "./line-logger.js";

function log(level: "info" | "error", use: (logger: ReturnType<typeof createLineLogger>) => void): unknown[] {
  const lines: string[] = [];
  use(createLineLogger(level, (line) => void lines.push(line)));
  expect(lines.every((line) => line.endsWith("\n") && !line.slice(0, -1).includes("\n"))).toBe(true);
  return lines.map((line) => JSON.parse(line));
}

test("writes lines with pino's fields, bigints and errors included", () => {
  const [line, failure] = log("info", (logger) => {
    logger.info({ volumeId: "one", sizeBytes: 1n << 60n }, "two\nlines");
    logger.error({ err: Object.assign(new TypeError("bad", { cause: new Error("why") }), { code: "E" }) }, "failed");
  });
  expect(line).toMatchObject({ level: 30, volumeId: "one", sizeBytes: String(1n << 60n), msg: "two\nlines" });
  expect(failure).toMatchObject({
    level: 50,
    err: { type: "TypeError", message: "bad", code: "E", cause: { message: "why" } },
  });
});

test("leaves out what is below its level", () => {
  const lines = log("error", (logger) => {
    logger.info({}, "info");
    logger.warn({}, "warn");
    logger.error({}, "error");
  });
  expect(lines).toMatchObject([{ msg: "error" }]);
});
