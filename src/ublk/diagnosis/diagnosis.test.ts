import { expect, test } from "@jest/globals";
import { toNativeFailure } from "../testing/fake-kernel.js";
import { reader } from "../testing/fake-machine.js";
import { diagnoseLock, diagnoseTimeout } from "./diagnosis.js";
import { toUblkError } from "./explain.js";

const holders = {
  findUsers: async () => [{ kind: "mount", name: "/mnt/a" } as const],
  findServers: async () => ["node (12)"],
  findLockers: async () => ["ublk-file (13)"],
};

function stuck(): Error {
  const seen = "blk_mq_freeze_queue_wait < del_gendisk < ublk_stop_dev";
  return Object.assign(toNativeFailure("STOP_DEV", "ETIMEDOUT"), { waitedMs: 120_000, seen });
}

test("a step that does not end is said with its time, its place in the kernel and who holds the device", async () => {
  const context = { operation: "stopAndDelete", subject: "/dev/ublkb3", deviceId: 3, holders };
  const error = await toUblkError(stuck(), context, reader());
  expect(error).toMatchObject({ code: "timeout", step: "STOP_DEV", errnoName: "ETIMEDOUT" });
  expect(error.message).toContain(
    "the kernel did not finish STOP_DEV in time; it was waited for 120000 ms; it stands in " +
      "blk_mq_freeze_queue_wait < del_gendisk < ublk_stop_dev; /dev/ublkb3 is held by mount /mnt/a; " +
      "/dev/ublkc3 is held by node (12) (STOP_DEV, ETIMEDOUT)",
  );
});

test("an image that another one serves is said with who that is, and what to do", async () => {
  const context = {
    operation: "createAndServe",
    subject: "a device over /srv/a.img",
    imagePath: "/srv/a.img",
    holders,
  };
  const error = await toUblkError(toNativeFailure("LOCK_IMAGE", "EAGAIN"), context, reader());
  expect(error).toMatchObject({ code: "image_in_use", step: "LOCK_IMAGE", errnoName: "EAGAIN" });
  expect(error.message).toBe(
    "cannot create a device over /srv/a.img: /srv/a.img is served by another device already, and two that write to it " +
      "would destroy it; it is locked by ublk-file (13) (LOCK_IMAGE, EAGAIN): end the other server first; only devices " +
      "that are all read-only can share an image",
  );
});

test("what is not known is left out, and a look that fails does no harm", async () => {
  const blind = {
    findUsers: async () => Promise.reject(new Error("no /proc")),
    findServers: async () => Promise.reject(new Error("no /proc")),
    findLockers: async () => Promise.reject(new Error("no /proc")),
  };
  expect(await diagnoseTimeout(new Error("?"), 3, blind)).toBe("");
  expect(await diagnoseTimeout(undefined, undefined, holders)).toBe("");
  expect(await diagnoseLock("/srv/a.img", blind)).toBe("");
  expect(await diagnoseLock(undefined, holders)).toBe("");
});
