import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "@jest/globals";
import { createGate } from "../testing/gate.js";
import { rejectionOf } from "../testing/workspace.js";
import { KeyedLock } from "./keyed-lock.js";

describe("the keyed lock", () => {
  test("lets one holder in at a time, and the waiting in order", async () => {
    const lock = new KeyedLock(5_000);
    const gate = createGate();
    const order: string[] = [];
    const first = lock.run(["a"], async () => {
      await gate.opened;
      order.push("first");
    });
    const others = ["second", "third"].map((name) => lock.run(["a"], async () => void order.push(name)));
    await lock.run(["b"], async () => void order.push("other key"));
    gate.open();
    await Promise.all([first, ...others]);
    expect(order).toEqual(["other key", "first", "second", "third"]);
  });

  test("gives up waiting after the limit, names the key, and lets the next in later", async () => {
    const lock = new KeyedLock(20);
    const gate = createGate();
    const holder = lock.run(["volume x"], () => gate.opened);
    const error = await rejectionOf(lock.run(["volume x"], async () => undefined));
    expect(error).toMatchObject({
      code: "busy",
      message: /another operation on volume x is still running .*try again/,
    });
    gate.open();
    await holder;
    await expect(lock.run(["volume x"], async () => "in")).resolves.toBe("in");
  });

  test("is released by work that fails", async () => {
    const lock = new KeyedLock(20);
    await rejectionOf(lock.run(["a"], () => Promise.reject(new Error("work failed"))));
    await expect(lock.run(["a"], async () => "in")).resolves.toBe("in");
  });

  test("holders of several keys never wait for each other in a circle", async () => {
    const lock = new KeyedLock(1_000);
    const run = (keys: string[]) => lock.run(keys, () => sleep(1));
    await Promise.all(Array.from({ length: 50 }, (_, round) => run(round % 2 === 0 ? ["a", "b"] : ["b", "a"])));
  });

  test("is idle when the last one that has or wants a key is done", async () => {
    const lock = new KeyedLock(1_000);
    await lock.whenIdle();
    const [gate, order] = [createGate(), [] as string[]];
    const calls = ["first", "second"].map((name) =>
      lock.run(["a", "b"], async () => {
        await gate.opened;
        order.push(name);
      }),
    );
    const idle = lock.whenIdle().then(() => order.push("idle"));
    gate.open();
    await Promise.all([...calls, idle]);
    expect(order).toEqual(["first", "second", "idle"]);
  });

  test("gives back the keys it has when the next one is busy", async () => {
    const lock = new KeyedLock(20);
    const gate = createGate();
    const holder = lock.run(["b"], () => gate.opened);
    await rejectionOf(lock.run(["a", "b"], async () => undefined));
    await expect(lock.run(["a"], async () => "in")).resolves.toBe("in");
    gate.open();
    await holder;
  });
});
