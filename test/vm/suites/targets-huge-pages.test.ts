import { mkdir, readFile, rm, rmdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "@jest/globals";
import { createAndServe } from "../../../src/ublk/index.js";
import { compareDevice, createRandomFile, readBlockAttribute, writeToDevice } from "./support/device-io.js";
import { failure, mebibyte, useLibraryRig } from "./support/library-rig.js";
import { runCommand } from "./support/run-command.js";

const rig = useLibraryRig();
const pageBytes = 2 * mebibyte;
const pageCount = 4;

async function readFreePages(): Promise<number> {
  return Number(/^HugePages_Free:\s+(\d+)$/m.exec(await readFile("/proc/meminfo", "utf8"))?.[1]);
}

async function withHugePages(use: (folder: string) => Promise<void>): Promise<void> {
  const folder = join(rig.scratch, "huge");
  await mkdir(folder);
  await writeFile("/proc/sys/vm/nr_hugepages", String(pageCount + 1));
  await runCommand("mount", ["-t", "hugetlbfs", "-o", "pagesize=2M", "none", folder]);
  try {
    await use(folder);
  } finally {
    await runCommand("umount", [folder]);
    await rmdir(folder);
    await writeFile("/proc/sys/vm/nr_hugepages", "0");
  }
}

/** User-Mode Linux has no huge pages. */
const describeWithHugePages = process.env.VM_KERNEL === "uml" ? undefined : describe;

test("a kernel has huge pages, or is the one that has none", async () => {
  const hasThem = (await readFile("/proc/filesystems", "utf8")).includes("hugetlbfs");
  expect(hasThem).toBe(process.env.VM_KERNEL !== "uml");
});

describeWithHugePages?.("memory in huge pages", () => {
  test("serves whole pages and gives whole pages back", async () => {
    await withHugePages(async (folder) => {
      const path = await rig.images.createImage(pageCount * pageBytes, folder);
      const free = await readFreePages();
      const device = await createAndServe({ target: { kind: "memory", path } });
      expect(await readBlockAttribute(device.path, "queue/discard_granularity")).toBe(String(pageBytes));
      const data = await createRandomFile(join(rig.scratch, "data"), pageCount * pageBytes);
      await writeToDevice(data, device.path, { direct: true });
      await compareDevice(data, device.path);
      expect(await readFreePages()).toBe(free - pageCount);
      await runCommand("blkdiscard", ["--offset", String(pageBytes), "--length", String(2 * pageBytes), device.path]);
      expect(await readFreePages()).toBe(free - pageCount + 2);
      await runCommand("cmp", ["-n", String(pageBytes), data, device.path]);
      await device.stop();
      await rm(path);
    });
  });

  test("a part of a page is refused as size, with the size that would do", async () => {
    await withHugePages(async (folder) => {
      const path = await rig.images.createImage(2 * pageBytes, folder);
      const params = { target: { kind: "memory", path }, sizeBytes: 3 * mebibyte } as const;
      const error = await failure(createAndServe(params));
      expect(error).toMatchObject({ code: "size_misaligned" });
      expect(error.message).toContain(`huge page of 2097152 bytes of ${path}: use 4194304`);
      await rm(path);
    });
  });
});
