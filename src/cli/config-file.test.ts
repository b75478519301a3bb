import { describe, expect, test } from "@jest/globals";
import fastCheck from "fast-check";
import { checkProperty } from "../testing/properties.js";
import { parseConfigFile } from "./config-file.js";
import { ConfigError } from "./values.js";

const parse = (...lines: string[]) => parseConfigFile(lines.join("\n"), "node.yaml");

const filePool = ["pools:", "  - name: fast", "    kind: file", "    directory: /mnt/fast/"];
const memoryPool = ["pools:", "  - name: scratch", "    kind: memory", "    size: 4Gi"];

describe("a configuration file", () => {
  test("names pools of both kinds with all their settings", () => {
    const settings = [
      "    reserve: 5.5%",
      "    overcommit: 2.5",
      "    watermarks: { warning: 70, critical: 90 }",
      "  - { name: scratch, kind: memory, size: 1073741824, reserve: 64Mi }",
    ];
    expect(parse(...filePool, ...settings).pools).toEqual([
      {
        kind: "file",
        name: "fast",
        directory: "/mnt/fast",
        settings: {
          reserve: { percent: 5.5 },
          overcommit: 2.5,
          watermarks: { warningPercent: 70, criticalPercent: 90 },
        },
      },
      {
        kind: "memory",
        name: "scratch",
        budgetBytes: 1024n ** 3n,
        settings: { reserve: { bytes: 64n * 1024n ** 2n } },
      },
    ]);
  });

  test("bounds inline volumes, with defaults for what it leaves out", () => {
    expect(parse("ephemeral:", "  maxSize: 2Gi", "  pools: [scratch]").ephemeral).toEqual({
      sizeBytesDefault: 1024n ** 3n,
      sizeBytesMax: 2n * 1024n ** 3n,
      poolNames: ["scratch"],
      volumeCountMax: 100,
    });
  });

  test("bounds the limits of inline volumes", () => {
    const lines = [
      "  limits:",
      "    iops: 2000",
      "    bandwidth: 100Mi",
      "    burst: 500ms",
      "    readIops: unlimited",
    ];
    expect(parse("ephemeral:", ...lines).ephemeral?.limitsMax).toEqual({
      iops: 2000,
      bytesPerSecond: 100 * 2 ** 20,
      burstMs: 500,
    });
  });

  test("may leave everything out, and be empty", () => {
    expect(parse(...memoryPool).pools).toEqual([
      { kind: "memory", name: "scratch", budgetBytes: 4n * 1024n ** 3n, settings: {} },
    ]);
    expect(parse("# nothing yet")).toEqual({});
  });
});

describe("a mistake is told with its line, its place and what is allowed:", () => {
  test.each<[string, string[], string]>([
    ["an unknown section", ["pool: []"], 'node.yaml:1: unknown key "pool", allowed are pools, ephemeral'],
    [
      "an unknown key",
      [...filePool, "    reserved: 5%"],
      'node.yaml:5: pools[0] unknown key "reserved", allowed are name, kind, directory, reserve, overcommit, watermarks',
    ],
    ["a size for a directory", [...filePool, "    size: 4Gi"], 'node.yaml:5: pools[0] unknown key "size", allowed'],
    [
      "an unknown kind",
      ["pools:", "  - name: a", "    kind: lvm"],
      "node.yaml:3: pools[0].kind must be a mapping whose",
    ],
    [
      "something missing",
      ["pools:", "  - name: a", "    kind: file"],
      "node.yaml:2: pools[0].directory must be an abso",
    ],
    ["a relative path", ["pools:", "- {name: a, kind: file, directory: x}"], "node.yaml:2: pools[0].directory must be"],
    ["the root", ["pools:", "- {name: a, kind: file, directory: /}"], "node.yaml:2: pools[0].directory must be"],
    ["a name", ["pools:", "- {name: A/b, kind: memory, size: 1Gi}"], "pools[0].name must be 1 to 63 lower-case"],
    ["a size", ["pools:", "- {name: a, kind: memory, size: 1 GB}"], "pools[0].size must be a whole number of bytes"],
    ["a tiny size", ["pools:", "- {name: a, kind: memory, size: 1Ki}"], "pools[0].size must be from 1048576 to"],
    ["a reserve", [...filePool, "    reserve: 100%"], "node.yaml:5: pools[0].reserve must be a size"],
    [
      "an over-commit",
      [...filePool, "    overcommit: 0.5"],
      "node.yaml:5: pools[0].overcommit must be a number from 1",
    ],
    ["an infinite one", [...filePool, "    overcommit: .inf"], "node.yaml:5: pools[0].overcommit must be a number"],
    [
      "marks the wrong way round",
      [...filePool, "    watermarks:", "      warning: 95", "      critical: 90"],
      "node.yaml:6: pools[0].watermarks warning must not be above critical",
    ],
    ["pools that are no list", ["pools: fast"], "node.yaml:1: pools must be a list of pools"],
    ["no mapping", ["- pools"], "node.yaml:1: must be a mapping with the keys pools, ephemeral"],
    [
      "a default above the maximum",
      ["ephemeral:", "  defaultSize: 20Gi"],
      "node.yaml:2: ephemeral defaultSize must not",
    ],
    ["a count", ["ephemeral: { maxCount: -1 }"], "node.yaml:1: ephemeral.maxCount must be a whole number from 0"],
    [
      "a limit",
      ["ephemeral:", "  limits:", "    iops: 2k"],
      'node.yaml:3: ephemeral.limits maximum iops is "2k", allowed is a number of operations from 10 to 1000000000',
    ],
    [
      "an unknown limit",
      ["ephemeral: { limits: { iopz: 1 } }"],
      'node.yaml:1: ephemeral.limits unknown key "iopz", allowed are iops, readIops, writeIops, bandwidth',
    ],
    ["a key given twice", ["pools: []", "pools: []"], "node.yaml:2: not valid YAML: Map keys must be unique"],
    ["no YAML", ["pools: [", "  a"], "not valid YAML"],
  ])("%s", (_case, lines, message) => {
    expect(() => parse(...lines)).toThrow(ConfigError);
    expect(() => parse(...lines)).toThrow(message);
  });

  test("whatever the file holds, it is a ConfigError or a configuration", () => {
    const line = fastCheck.oneof(fastCheck.string(), fastCheck.constantFrom(...filePool, ...memoryPool, "  &a *a"));
    checkProperty([fastCheck.array(line, { maxLength: 12 })], (lines) => {
      try {
        parse(...lines);
      } catch (error) {
        expect(error).toBeInstanceOf(ConfigError);
      }
    });
  });
});
