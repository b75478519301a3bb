import { expect, test } from "@jest/globals";
import { type Listed, listPage } from "./page.js";

const items = (...ids: string[]): Listed[] => ids.map((id) => ({ id }));
const idsOf = (page: { items: Listed[] }) => page.items.map(({ id }) => id);

test("no limit is one page, and no token follows", () => {
  expect(listPage(items("a", "b"), "", 0)).toEqual({ items: items("a", "b"), nextToken: "" });
});

test("a page that ends with the last item has no token either", () => {
  expect(listPage(items("a", "b"), "", 2).nextToken).toBe("");
});

test("what comes and goes between two pages moves nothing: each item that stays is listed once", () => {
  const first = listPage(items("b", "d", "f"), "", 2);
  expect(idsOf(first)).toEqual(["b", "d"]);
  const changed = items("a", "b", "e", "f"); // d is gone, a and e are new
  expect(idsOf(listPage(changed, first.nextToken, 2))).toEqual(["e", "f"]);
});

test("a token stays valid when nothing is left behind it", () => {
  expect(listPage(items("a"), "after:zzz", 5)).toEqual({ items: [], nextToken: "" });
});

test.each(["made-up", "after:", "after:../..", "after:A"])("the token %j is not one of ours", (token) => {
  expect(() => listPage(items("a"), token, 0)).toThrow(expect.objectContaining({ code: "busy" }));
});

test("a negative number of entries is invalid", () => {
  expect(() => listPage([], "", -1)).toThrow(expect.objectContaining({ code: "invalid" }));
});
