import { describe, expect, test } from "@jest/globals";
import { rejectionOf } from "../testing/workspace.js";
import type { FileAddon } from "../ublk/addon.js";
import { loadFileCalls } from "../ublk/file-calls.js";
import { KernelImageFiles } from "./image-files.js";

const range = { offsetBytes: 4096n, lengthBytes: 8192n };

/** Image files over native code that fails every call but these. */
function over(addon: Partial<FileAddon>): KernelImageFiles {
  const fail = () => Promise.reject(new Error("unexpected call"));
  const complete = { cloneFile: fail, readExtents: fail, peekExtents: fail, readDataRanges: fail, ...addon };
  return new KernelImageFiles(() => loadFileCalls(complete));
}

/** Rejects as the native code does. */
function failing(errno: number, step: string): () => Promise<never> {
  return () => Promise.reject(Object.assign(new Error(`${step} failed`), { errno, step }));
}

describe("a clone", () => {
  test("that was made is told as such", async () => {
    const calls: string[][] = [];
    const cloneFile = async (...paths: string[]) => void calls.push(paths);
    expect(await over({ cloneFile }).clone("/source", "/target")).toBe("cloned");
    expect(calls).toEqual([["/source", "/target"]]);
  });

  test("that the file system cannot make is unsupported", async () => {
    expect(await over({ cloneFile: failing(95, "FICLONE") }).clone("/source", "/target")).toBe("unsupported");
  });

  test("that fails tells errno, call and path", async () => {
    const error = await rejectionOf(over({ cloneFile: failing(28, "FICLONE") }).clone("/source", "/target"));
    expect(error).toMatchObject({ code: "ENOSPC", syscall: "FICLONE", path: "/target" });
    expect(error.message).toBe("ENOSPC: FICLONE of /target failed");
  });
});

describe("extents", () => {
  test.each([
    { what: "written", flags: 0x0n, told: { isShared: false, isUnwritten: false, isPlaced: true } },
    { what: "shared", flags: 0x2000n, told: { isShared: true, isUnwritten: false, isPlaced: true } },
    { what: "unwritten and the last", flags: 0x801n, told: { isShared: false, isUnwritten: true, isPlaced: true } },
    { what: "delayed", flags: 0x4n, told: { isShared: false, isUnwritten: false, isPlaced: false } },
    { what: "compressed and shared", flags: 0x2008n, told: { isShared: true, isUnwritten: false, isPlaced: false } },
    { what: "inline", flags: 0x200n, told: { isShared: false, isUnwritten: false, isPlaced: false } },
  ])("tell of one that is $what", async ({ flags, told }) => {
    const page = { entries: BigUint64Array.of(4096n, 8192n, 512n, flags), nextBytes: 4608n };
    expect(await over({ readExtents: async () => page }).readExtents("/image", range)).toEqual({
      entries: [{ logicalBytes: 4096n, physicalBytes: 8192n, lengthBytes: 512n, ...told }],
      nextBytes: 4608n,
    });
  });

  test("are asked for the range that was wanted", async () => {
    const questions: unknown[] = [];
    const readExtents = async (...question: unknown[]) => {
      questions.push(question);
      return { entries: new BigUint64Array(), nextBytes: undefined };
    };
    expect(await over({ readExtents }).readExtents("/image", range)).toEqual({ entries: [], nextBytes: undefined });
    expect(questions).toEqual([["/image", 4096n, 8192n]]);
  });

  test("are peeked at in the same words", async () => {
    const peekExtents = async () => ({ entries: BigUint64Array.of(0n, 4096n, 512n, 0x2000n), nextBytes: undefined });
    const shared = { isShared: true, isUnwritten: false, isPlaced: true };
    expect(await over({ peekExtents }).peekExtents("/image", range)).toEqual({
      entries: [{ logicalBytes: 0n, physicalBytes: 4096n, lengthBytes: 512n, ...shared }],
      nextBytes: undefined,
    });
    expect(await over({ peekExtents: failing(95, "FIEMAP") }).peekExtents("/image", range)).toBe("unsupported");
  });

  test("of a file system that keeps none are unsupported", async () => {
    expect(await over({ readExtents: failing(95, "FIEMAP") }).readExtents("/image", range)).toBe("unsupported");
  });

  test("of a missing file fail with ENOENT", async () => {
    const error = await rejectionOf(over({ readExtents: failing(2, "OPEN_SOURCE") }).readExtents("/image", range));
    expect(error).toMatchObject({ code: "ENOENT", path: "/image" });
  });
});

describe("data ranges", () => {
  test("come in the order of the file", async () => {
    const page = { entries: BigUint64Array.of(4096n, 512n, 8192n, 4096n), nextBytes: undefined };
    expect(await over({ readDataRanges: async () => page }).readDataRanges("/image", range)).toEqual({
      entries: [
        { offsetBytes: 4096n, lengthBytes: 512n },
        { offsetBytes: 8192n, lengthBytes: 4096n },
      ],
      nextBytes: undefined,
    });
  });

  test("of a file that cannot be read fail with the errno", async () => {
    const error = await rejectionOf(over({ readDataRanges: failing(5, "SEEK_DATA") }).readDataRanges("/image", range));
    expect(error).toMatchObject({ code: "EIO", syscall: "SEEK_DATA" });
  });
});
