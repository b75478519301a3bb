import { expect, test } from "@jest/globals";
import { Families } from "./families.js";

test("what was made from one another is a family, also when the link between is gone", () => {
  const families = new Families();
  expect([...families.of("a")]).toEqual(["a"]);
  families.join("b", "a");
  families.join("d", "c");
  expect(families.of("d")).toBe(families.of("c"));
  expect(families.of("a")).not.toBe(families.of("c"));
  families.join("c", "b");
  families.join("c", "a");
  expect([...families.of("d")].sort()).toEqual(["a", "b", "c", "d"]);
  for (const link of ["b", "c"]) families.remove(link);
  expect([...families.of("a")].sort()).toEqual(["a", "d"]);
  expect(families.of("d")).toBe(families.of("a"));
  families.remove("unknown");
});
