import { expect, test } from "@jest/globals";
import { RetryPace } from "./retry-pace.js";

test("pauses grow with each failure up to a bound, and are as at first after a success", () => {
  const pace = new RetryPace(10);
  const pauses = [pace.pauseMs];
  for (let failure = 0; failure < 8; failure++) {
    pace.noteFailure(new Error("the disk is full"));
    pauses.push(pace.pauseMs);
  }
  expect(pauses).toEqual([10, 20, 40, 80, 160, 320, 640, 640, 640]);
  pace.reset();
  expect(pace.pauseMs).toBe(10);
});

test("an error is news when it is not the one of the attempt before", () => {
  const pace = new RetryPace(10);
  const [full, away] = [new Error("the disk is full"), new Error("the engine does not answer")];
  expect([full, full, away, away, full].map((error) => pace.noteFailure(error))).toEqual([
    true,
    false,
    true,
    false,
    true,
  ]);
  pace.reset();
  expect(pace.noteFailure(full)).toBe(true);
});

test("a pause ends when it is aborted", async () => {
  const stop = new AbortController();
  const pausing = new RetryPace(3_600_000).pause(stop.signal);
  stop.abort();
  await pausing;
});
