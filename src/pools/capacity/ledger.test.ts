import { expect, test } from "@jest/globals";
import fastCheck from "fast-check";
import { Ledger } from "./ledger.js";

const roomy = { limitBytes: 1000n, freeBytes: 1000n, outstandingBytes: 0n };

test("a reservation lowers what is available, a release raises it again", () => {
  const ledger = new Ledger("disk");
  ledger.reserve("a", 600n, roomy);
  expect(ledger.availableBytes(roomy)).toBe(400n);
  ledger.release("a");
  expect(ledger.availableBytes(roomy)).toBe(1000n);
});

test("what does not fit is refused with both figures, and not booked", () => {
  const ledger = new Ledger("disk");
  ledger.reserve("a", 600n, roomy);
  expect(() => ledger.reserve("b", 401n, roomy)).toThrow(
    expect.objectContaining({ code: "no_space", message: "pool disk has 400 bytes available, 401 were asked for" }),
  );
  expect(ledger.reservedBytes).toBe(600n);
});

test("a growth books what it adds, and one that does not fit leaves the booking as it was", () => {
  const ledger = new Ledger("disk");
  ledger.reserve("a", 600n, roomy);
  ledger.grow("a", 1000n, roomy);
  expect(ledger.reservedBytes).toBe(1000n);
  expect(() => ledger.grow("a", 1001n, roomy)).toThrow(expect.objectContaining({ code: "no_space" }));
  expect(ledger.reservedBytes).toBe(1000n);
});

test("free bytes of the file system bound a reservation, less what thin volumes may still take", () => {
  const ledger = new Ledger("disk");
  expect(ledger.availableBytes({ limitBytes: 1000n, freeBytes: 300n, outstandingBytes: 100n })).toBe(200n);
});

test("an overfull pool has nothing available rather than less than nothing", () => {
  const ledger = new Ledger("disk");
  ledger.record("a", 5000n);
  expect(ledger.availableBytes(roomy)).toBe(0n);
});

test("whatever is reserved and released, the promises never exceed the limit", () => {
  const step = fastCheck.record({ id: fastCheck.integer({ min: 0, max: 9 }), sizeBytes: fastCheck.bigInt(1n, 900n) });
  fastCheck.assert(
    fastCheck.property(fastCheck.array(step), (steps) => {
      const ledger = new Ledger("disk");
      for (const { id, sizeBytes } of steps) {
        const isBooked = ledger.entries().some(([known]) => known === `${id}`);
        if (isBooked) ledger.release(`${id}`);
        else if (sizeBytes <= ledger.availableBytes(roomy)) ledger.reserve(`${id}`, sizeBytes, roomy);
        else expect(() => ledger.reserve(`${id}`, sizeBytes, roomy)).toThrow("available");
        expect(ledger.reservedBytes <= roomy.limitBytes).toBe(true);
      }
    }),
  );
});
