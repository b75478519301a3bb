import { constants } from "node:os";
import { describe, expect, test } from "@jest/globals";
import { type FaultRule, toNativeFaultRules, validateFaultRules } from "./fault-rules.js";

function check(...rules: unknown[]): void {
  validateFaultRules(rules, "createAndServe");
}

const wrongRules: [string, unknown, string][] = [
  ["no object", 7, "target.rules[0] is 7; expected an object"],
  ["no action", {}, "target.rules[0]: the action is undefined; expected exactly one of delayMs, error, tearAfterBytes"],
  [
    "two actions",
    { error: "EIO", hang: true },
    'target.rules[0]: the action is "error and hang"; expected exactly one',
  ],
  [
    "an unknown name",
    { error: "EIO", often: 1 },
    'target.rules[0]: the unknown name is "often"; expected one of delayMs',
  ],
  ["an errno that is none", { error: "EWHAT" }, 'target.rules[0].error is "EWHAT"; expected the name of an errno'],
  ["an errno by number", { error: 5 }, "target.rules[0].error is 5; expected the name of an errno"],
  ["no delay", { delayMs: 0 }, "target.rules[0].delayMs is 0; expected a whole number from 1 to 3600000"],
  ["half a byte", { tearAfterBytes: 0.5 }, "target.rules[0].tearAfterBytes is 0.5; expected a whole number from 0 to"],
  ["hang: false", { hang: false }, "target.rules[0].hang is false; expected true"],
  [
    "another death",
    { die: "soon" },
    'target.rules[0].die is "soon"; expected one of before-io, after-io, after-commit',
  ],
  ["no operation", { hang: true, operations: [] }, "target.rules[0].operations is ; expected a list of some of read"],
  ["another operation", { hang: true, operations: ["trim"] }, "target.rules[0].operations is trim; expected a list"],
  [
    "an offset as a number",
    { hang: true, offsetBytes: 0 },
    "target.rules[0].offsetBytes is 0; expected a bigint from 0n",
  ],
  ["an empty range", { hang: true, lengthBytes: 0n }, "target.rules[0].lengthBytes is 0; expected a bigint from 1n"],
  ["every 0", { hang: true, every: 0 }, "target.rules[0].every is 0; expected a whole number from 1 to 4294967295"],
  ["after -1", { hang: true, after: -1 }, "target.rules[0].after is -1; expected a whole number from 0 to 4294967295"],
  ["no times", { hang: true, times: 0 }, "target.rules[0].times is 0; expected a whole number from 1"],
  ["probability 0", { hang: true, probability: 0 }, "target.rules[0].probability is 0; expected a number above 0"],
];

describe("validateFaultRules", () => {
  test.each(wrongRules)("refuses %s", (_what, rule, message) => {
    expect(() => check(rule)).toThrow(message);
  });

  test("names the rule that is wrong", () => {
    expect(() => check({ hang: true }, { hang: true, every: 1.5 })).toThrow("target.rules[1].every is 1.5");
  });

  test("refuses what is no list, and too long a list", () => {
    expect(() => validateFaultRules({}, "setFaultRules")).toThrow("target.rules is [object Object]; expected an array");
    const many = Array.from({ length: 257 }, () => ({ hang: true }));
    expect(() => validateFaultRules(many, "setFaultRules")).toThrow("target.rules.length is 257; expected at most 256");
  });

  test("takes no rule and every kind of rule", () => {
    check();
    check({ delayMs: 5 }, { error: "ENOSPC" }, { tearAfterBytes: 0 }, { hang: true }, { die: "after-commit" });
  });
});

describe("toNativeFaultRules", () => {
  test("fills in what is left out", () => {
    expect(toNativeFaultRules([{ error: "ENOSPC" }])).toEqual([
      {
        operations: 0b101111,
        hasRange: false,
        offsetBytes: 0n,
        lengthBytes: 2n ** 63n,
        after: 0,
        every: 1,
        times: 2 ** 32 - 1,
        probability: 1,
        action: "error",
        value: constants.errno.ENOSPC,
      },
    ]);
  });

  test.each<[FaultRule, object]>([
    [
      { delayMs: 20, operations: ["read", "flush"] },
      { action: "delay", value: 20, operations: 0b101 },
    ],
    [
      { tearAfterBytes: 512, offsetBytes: 4096n },
      { action: "tear", value: 512, hasRange: true, offsetBytes: 4096n },
    ],
    [
      { hang: true, lengthBytes: 512n, times: 1 },
      { action: "hang", hasRange: true, lengthBytes: 512n, times: 1 },
    ],
    [
      { die: "after-io", after: 3, probability: 0.5 },
      { action: "die", value: 1, after: 3, probability: 0.5 },
    ],
  ])("translates %p", (rule, native) => {
    expect(toNativeFaultRules([rule])[0]).toMatchObject(native);
  });
});
