import { describe, expect, test } from "@jest/globals";
import fastCheck from "fast-check";
import { toBookedBytes, toSizeBytes } from "./booking.js";
import { toReservedBytes } from "./pool-settings.js";

describe("what a volume is booked with", () => {
  test("is all of it when it is thick, whatever the pool's ratio", () => {
    expect(toBookedBytes(1000n, { provisioning: "thick", overcommit: 10 })).toBe(1000n);
  });

  test("is its part when it is thin, rounded up", () => {
    expect(toBookedBytes(1000n, { provisioning: "thin", overcommit: 1 })).toBe(1000n);
    expect(toBookedBytes(1001n, { provisioning: "thin", overcommit: 2.5 })).toBe(401n);
  });

  test("never exceeds what there is for the largest size that there is said to be", () => {
    const ratio = fastCheck.integer({ min: 1000, max: 1_000_000 }).map((thousandths) => thousandths / 1000);
    fastCheck.assert(
      fastCheck.property(fastCheck.bigInt(0n, 2n ** 50n), ratio, (bytes, overcommit) => {
        const rules = { provisioning: "thin", overcommit } as const;
        const largest = toSizeBytes(bytes, rules);
        expect(toBookedBytes(largest, rules) <= bytes).toBe(true);
        expect(toBookedBytes(largest + 1n, rules) > bytes).toBe(true);
      }),
    );
  });
});

test("a reserve is bytes, or a part of the pool", () => {
  expect(toReservedBytes({ bytes: 5n }, 1000n)).toBe(5n);
  expect(toReservedBytes({ percent: 12.5 }, 1000n)).toBe(125n);
});
