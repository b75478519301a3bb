import { readFile } from "node:fs/promises";
import { describe, expect, test } from "@jest/globals";
import { engineHelp, parseEngineConfig } from "./engine-config.js";

const parse = (line: string) => parseEngineConfig(line.split(" ").filter(Boolean));

describe("ublk-csi engine", () => {
  test("understands every flag, and none", () => {
    const places = "--endpoint unix:///run/a/b.sock --state-dir /state/";
    expect(parse(`${places} --take-over --log-level debug --allow-broken-kernel`)).toEqual({
      socketPath: "/run/a/b.sock",
      stateDir: "/state",
      logLevel: "debug",
      allowBrokenKernel: true,
      takeOver: true,
      dryRun: false,
    });
    expect(parse("--dry-run")).toEqual({
      socketPath: "/run/ublk-csi-engine/engine.sock",
      stateDir: "/var/lib/ublk-csi",
      logLevel: "info",
      allowBrokenKernel: false,
      takeOver: false,
      dryRun: true,
    });
    expect(parse("--help")).toBeUndefined();
  });

  test("explains every flag that it understands, in its help and in docs/engine.md", async () => {
    const page = await readFile("docs/engine.md", "utf8");
    for (const flag of ["endpoint", "state-dir", "take-over", "dry-run", "log-level", "allow-broken-kernel"]) {
      expect(engineHelp).toContain(`--${flag}`);
      expect(page).toContain(`\n| \`--${flag}\` |`);
    }
  });

  test.each([
    ["--endpoint tcp://1.2.3.4:5", '--endpoint "tcp://1.2.3.4:5" must be unix://'],
    [`--endpoint unix:///${"x".repeat(100)}`, "--endpoint path has 101 bytes, sockets take 96"],
    ["--state-dir state", '--state-dir "state" must be an absolute path'],
    ["--log-level loud", '--log-level "loud" must be one of trace'],
    ["--take-over --dry-run", "--dry-run changes nothing and --take-over does: give one of them"],
    ["--bogus", "Unknown option '--bogus' (see ublk-csi engine --help)"],
    ["--endpoint", "Option '--endpoint <value>' argument missing (see ublk-csi engine --help)"],
    ["extra", "Unexpected argument 'extra'"],
  ])("%s: one line", (line, message) => {
    expect(() => parse(line)).toThrow(expect.objectContaining({ code: "invalid_config" }));
    expect(() => parse(line)).toThrow(message);
  });
});
