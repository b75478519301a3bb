import { expect, test } from "@jest/globals";
import { findUdevDaemons } from "./support/udev.js";

test("these suites run without udev, which those in udev/ run with", async () => {
  expect(await findUdevDaemons()).toEqual([]);
});
