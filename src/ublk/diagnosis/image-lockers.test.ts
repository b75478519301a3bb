import { expect, test } from "@jest/globals";
import { findImageLockers, type ImageLockersReader } from "./image-lockers.js";

const lockLine = "lock:\t1: OFDLCK  ADVISORY  WRITE -1 08:01:42 0 EOF\n";
const texts: Record<string, string> = {
  "/proc/12/comm": "ublk-file\n",
  "/proc/12/fdinfo/7": `pos:\t0\n${lockLine}`,
  "/proc/13/comm": "cat\n",
  "/proc/13/fdinfo/3": "pos:\t0\n",
  "/proc/14/comm": "other\n",
  "/proc/14/fdinfo/3": lockLine,
};
const links: Record<string, string> = {
  "/proc/12/fd/7": "/srv/a.img",
  "/proc/13/fd/3": "/srv/a.img",
  "/proc/14/fd/3": "/srv/b.img",
};
const reader: ImageLockersReader = {
  readText: async (path) => texts[path],
  readLink: async (path) => links[path],
  readNames: async (path) => {
    if (path === "/proc") return ["12", "13", "14", "15", "self"];
    return Object.keys(links)
      .filter((link) => link.startsWith(`${path}/`))
      .map((link) => link.slice(path.length + 1));
  },
  realPath: async (path) => (path === "/mnt/link" ? "/srv/a.img" : undefined),
};

test("whoever has a lock on the file is named; whoever merely has it open, or another file, is not", async () => {
  expect(await findImageLockers("/mnt/link", reader)).toEqual(["ublk-file (12)"]);
});

test("a file that is gone has no lockers", async () => {
  expect(await findImageLockers("/srv/gone", reader)).toEqual([]);
});
