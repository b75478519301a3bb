import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import type { Environment, NodeConfig } from "../config.js";
import { runProgram } from "./program.js";

interface Result {
  exitCode: number;
  errors: string[];
  config: NodeConfig | undefined;
}

const noEnvironment: Environment = { endpoint: undefined, nodeId: undefined };

async function run(line: string, environment = noEnvironment): Promise<Result> {
  const errors: string[] = [];
  let config: NodeConfig | undefined;
  const exitCode = await runProgram(line.split(" ").filter(Boolean), {
    version: "1.2.3",
    environment,
    writeError: (text) => void errors.push(text),
    runPool: () => Promise.reject(new Error("not asked for a pool command")),
    runNode: async (given) => {
      config = given;
      return 0;
    },
  });
  return { exitCode, errors, config };
}

const base = "node --endpoint unix:///run/csi.sock --node-id node-a";

describe("ublk-csi node", () => {
  test("understands every flag, and keeps the order of the pools", async () => {
    const flags = "--memory-pool scratch=1Gi --pool disk=/mnt/disk/ --memory-pool more=1G --state-dir /state";
    const { exitCode, config } = await run(
      `${base} ${flags} --driver-name a.example --log-level debug --engine unix:///run/engine/engine.sock --allow-broken-kernel`,
    );
    expect(exitCode).toBe(0);
    expect(config).toEqual({
      socketPath: "/run/csi.sock",
      nodeId: "node-a",
      stateDir: "/state",
      kubeletDir: "/var/lib/kubelet",
      engineSocketPath: "/run/engine/engine.sock",
      driverName: "a.example",
      logLevel: "debug",
      allowBrokenKernel: true,
      pools: [
        { kind: "memory", name: "scratch", budgetBytes: 1073741824n },
        { kind: "file", name: "disk", directory: "/mnt/disk" },
        { kind: "memory", name: "more", budgetBytes: 1000000000n },
      ],
    });
  });

  test.each([
    ["http://127.0.0.1:9810", { host: "127.0.0.1", port: 9810 }],
    ["http://0.0.0.0:80/", { host: "0.0.0.0", port: 80 }],
    ["http://[::]:65535", { host: "::", port: 65535 }],
  ])("takes %s for metrics", async (text, metricsEndpoint) => {
    expect((await run(`${base} --pool a=/a --metrics-endpoint ${text}`)).config).toMatchObject({ metricsEndpoint });
  });

  test("takes endpoint and node id from the environment, flags first", async () => {
    const environment = { endpoint: "unix:/env.sock", nodeId: "from-env" };
    expect((await run("node --pool a=/a", environment)).config).toMatchObject({
      socketPath: "/env.sock",
      nodeId: "from-env",
      stateDir: "/var/lib/ublk-csi",
      engineSocketPath: undefined,
      driverName: "csi.ublk.io",
      logLevel: "info",
      allowBrokenKernel: false,
    });
    expect((await run(`${base} --pool a=/a`, environment)).config?.nodeId).toBe("node-a");
  });

  test.each([
    ["node --node-id a --pool a=/a", "--endpoint is required: give the flag, or set CSI_ENDPOINT"],
    ["node --endpoint unix:///a --pool a=/a", "--node-id is required: give the flag, or set NODE_ID"],
    ["node --endpoint tcp://1.2.3.4:5 --node-id a --pool a=/a", '--endpoint "tcp://1.2.3.4:5" must be unix://'],
    ["node --endpoint csi.sock --node-id a --pool a=/a", '--endpoint "csi.sock" must be unix://'],
    [`node --endpoint unix:///${"x".repeat(120)} --node-id a --pool a=/a`, "path has 121 bytes, sockets take 107"],
    ["node --endpoint unix:///a --node-id -a --pool a=/a", '--node-id "-a" must be 1 to 63'],
    ["node --endpoint unix:///a --node-id a/b --pool a=/a", '--node-id "a/b" must be 1 to 63'],
    [base, "at least one --pool NAME=DIR or --memory-pool NAME=BYTES, or pools in --config, is required"],
    [`${base} --pool a`, '--pool "a" must be NAME=VALUE, such as --pool fast=/var/lib/fast'],
    [`${base} --pool =/a`, '--pool "=/a" must be NAME=VALUE'],
    [`${base} --pool a=b`, '--pool a "b" must be an absolute path below /'],
    [`${base} --pool a=/`, '--pool a "/" must be an absolute path below /'],
    [`${base} --pool ../x=/a`, '--pool "../x=/a": the name "../x" must be 1 to 63'],
    [`${base} --pool a=/a --memory-pool a=1Gi`, 'pool name "a" is given twice'],
    [`${base} --memory-pool a=1Zi`, '--memory-pool a size "1Zi" must be a whole number of bytes'],
    [`${base} --memory-pool a=-1`, '--memory-pool a size "-1" must be a whole number of bytes'],
    [`${base} --memory-pool a=0`, '--memory-pool a size "0" must be from 1Mi to 1024Ti'],
    [`${base} --memory-pool a=999999999Ti`, '--memory-pool a size "999999999Ti" must be from 1Mi to 1024Ti'],
    [`${base} --config /nowhere.yaml`, "--config /nowhere.yaml cannot be read: ENOENT"],
    [`${base} --pool a=/a --state-dir state`, '--state-dir "state" must be an absolute path'],
    [`${base} --pool a=/a --engine tcp://a`, '--engine "tcp://a" must be unix://'],
    ...[
      ...["unix:///a", "https://127.0.0.1:1", "127.0.0.1:9810", "http://localhost:9810", "http://127.0.0.1"],
      ...["http://127.0.0.1:0", "http://127.0.0.1:65536", "http://127.0.0.1:9810/metrics", "http://::1:9810"],
      ...["http://[127.0.0.1]:9810", "http://user@127.0.0.1:9810", "http://:9810"],
    ].map((text) => [
      `${base} --pool a=/a --metrics-endpoint ${text}`,
      `--metrics-endpoint "${text}" must be http://, an IP address`,
    ]),
    [`${base} --pool a=/a --driver-name ublk.csi.v1`, '--driver-name "ublk.csi.v1" must be 2 to 54'],
    [`${base} --pool a=/a --log-level loud`, '--log-level "loud" must be one of trace, debug'],
    [`${base} --pool a=/a --bogus`, "unknown option '--bogus' (see --help)"],
    [`${base} --pool`, "argument missing (see --help)"],
    [`${base} --pool a=/a extra`, "too many arguments"],
    ["bogus", "unknown command 'bogus'"],
    ["", "a command is missing"],
  ])("%s: one line and exit code 2", async (line, message) => {
    const { exitCode, errors, config } = await run(line);
    expect(exitCode).toBe(2);
    expect(config).toBeUndefined();
    expect(errors).toHaveLength(1);
    expect(errors[0]).toMatch(/^ublk-csi: [^\n]+$/);
    expect(errors[0]).toContain(message);
  });
});

describe("ublk-csi node --config", () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "ublk-csi-config-"));
    const pool = "{ name: fast, kind: file, directory: /mnt/fast, overcommit: 2 }";
    await writeFile(join(directory, "node.yaml"), `pools:\n  - ${pool}\n`);
  });
  afterEach(() => rm(directory, { recursive: true }));

  test("puts the pools of the file before those of the flags", async () => {
    const { config } = await run(`${base} --memory-pool scratch=1Gi --config ${directory}/node.yaml`);
    expect(config?.pools).toEqual([
      { kind: "file", name: "fast", directory: "/mnt/fast", settings: { overcommit: 2 } },
      { kind: "memory", name: "scratch", budgetBytes: 1073741824n },
    ]);
  });

  test("refuses pools for inline volumes that the node does not have", async () => {
    await writeFile(join(directory, "node.yaml"), "ephemeral: { pools: [gold] }\n");
    const { errors } = await run(`${base} --pool fast=/mnt/fast --config ${directory}/node.yaml`);
    expect(errors).toEqual([expect.stringContaining('ephemeral.pools names "gold", this node has the pools fast')]);
  });

  test("refuses a pool that flags and file both define", async () => {
    const { exitCode, errors } = await run(`${base} --pool fast=/other --config ${directory}/node.yaml`);
    expect(exitCode).toBe(2);
    expect(errors).toEqual([expect.stringContaining('pool name "fast" is given twice')]);
  });
});
