import { beforeEach, describe, expect, test } from "@jest/globals";
import { CommandError, type CommandOptions } from "../../system/command.js";
import { rejectionOf } from "../../testing/workspace.js";
import { CryptsetupLuks } from "./luks.js";

const passphrase = Buffer.from("never to be seen");
const device = "/dev/ublkb0";

interface Call {
  line: string;
  options: CommandOptions | undefined;
}

let calls: Call[];
let answer: { stdout: string } | CommandError;
let luks: CryptsetupLuks;

beforeEach(() => {
  calls = [];
  answer = { stdout: "" };
  luks = new CryptsetupLuks(async (program, args, options) => {
    calls.push({ line: [program, ...args].join(" "), options });
    if (answer instanceof CommandError) throw answer;
    return { ...answer, stderr: "" };
  });
});

const open = () => luks.open(device, passphrase, { name: "ublk-csi-1", readOnly: true, discard: true });

test("passphrases go to standard input and into no argument", async () => {
  const request = {
    label: "1",
    sectorSizeBytes: 4096,
    headerSizeBytes: 16n * 1024n ** 2n,
    memoryBytes: 64 * 1024 ** 2,
  };
  await luks.format(device, passphrase, { ...request, sectorSizeBytes: 4096 });
  await open();
  await luks.resize("ublk-csi-1", passphrase);
  expect(calls.map(({ options }) => options?.input)).toEqual([passphrase, passphrase, passphrase]);
  expect(calls.every(({ line }) => line.includes("--key-file -") && !line.includes("never"))).toBe(true);
});

test("a header has its size, its sectors, its label and a bounded cost", async () => {
  const request = { label: "1", headerSizeBytes: 16n * 1024n ** 2n, memoryBytes: 64 * 1024 ** 2 };
  await luks.format(device, passphrase, { ...request, sectorSizeBytes: 512 });
  const [{ line } = { line: "" }] = calls;
  expect(line).toContain("--offset 32768 --label 1 --subsystem ublk-csi /dev/ublkb0");
  expect(line).toContain("--sector-size 512");
  expect(line).toContain("--pbkdf argon2id --pbkdf-memory 65536 --pbkdf-force-iterations 4");
});

test("access and discards are passed on", async () => {
  await open();
  expect(calls[0]?.line).toMatch(/--readonly --allow-discards \/dev\/ublkb0 ublk-csi-1$/);
});

describe("when it fails", () => {
  test("a wrong passphrase is the caller's mistake, told without the passphrase", async () => {
    answer = new CommandError("cryptsetup open", "exit code 2", { exitCode: 2, stderr: "No key available" });
    const error = await rejectionOf(open());
    expect(error).toMatchObject({ code: "invalid", message: expect.stringContaining("does not open /dev/ublkb0") });
    expect(error.message).not.toContain("never");
  });

  test("anything else is passed on", async () => {
    answer = new CommandError("cryptsetup open", "exit code 4", { exitCode: 4, stderr: "broken" });
    expect(await rejectionOf(open())).toBe(answer);
  });
});

test("a header is read from blkid", async () => {
  answer = { stdout: `DEVNAME=${device}\nVERSION=2\nUUID=a-b\nLABEL=1\nSUBSYSTEM=ublk-csi\nTYPE=crypto_LUKS\n` };
  expect(await luks.readHeader(device)).toEqual({ version: "2", uuid: "a-b", label: "1", subsystem: "ublk-csi" });
});
