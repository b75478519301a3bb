import { describe, expect, test } from "@jest/globals";
import { runProgram } from "../program.js";
import type { PoolCommand } from "./pool-command.js";

async function run(line: string, nodeId?: string) {
  const errors: string[] = [];
  const commands: PoolCommand[] = [];
  const exitCode = await runProgram(line.split(" ").filter(Boolean), {
    version: "1.2.3",
    environment: { endpoint: undefined, nodeId },
    writeError: (text) => void errors.push(text),
    runNode: () => Promise.reject(new Error("not asked for a node")),
    runPool: async (command) => {
      commands.push(command);
      return 1;
    },
  });
  return { exitCode, errors, command: commands[0] };
}

const place = {
  stateDir: "/var/lib/ublk-csi",
  kubeletDir: "/var/lib/kubelet",
  driverName: "csi.ublk.io",
  nodeId: undefined,
  pools: [{ kind: "file", name: "a", directory: "/a" }],
};

describe("ublk-csi pool", () => {
  test("gives the exit code of what it runs", async () => {
    expect(await run("pool list --pool a=/a")).toEqual({
      exitCode: 1,
      errors: [],
      command: { verb: "list", place, isJson: false },
    });
  });

  test.each([
    ["list --json", { verb: "list", isJson: true }],
    ["check", { verb: "check", repair: false, removeIds: [] }],
    ["check --repair --remove x --remove y", { verb: "check", repair: true, removeIds: ["x", "y"] }],
    ["adopt a", { verb: "adopt", poolName: "a", replace: false, place: { ...place, nodeId: "from-env" } }],
    [
      "adopt a --replace --node-id n",
      { verb: "adopt", poolName: "a", replace: true, place: { ...place, nodeId: "n" } },
    ],
    [
      "import /images/Debian_12.qcow2",
      {
        verb: "import",
        sourcePath: "/images/Debian_12.qcow2",
        name: "import-debian-12-qcow2",
        provisioning: "thick",
        storageClassName: "",
      },
    ],
    [
      "import x --format raw --into a --name y --provisioning thin --size 2Gi --access block --storage-class fast",
      {
        verb: "import",
        sourcePath: `${process.cwd()}/x`,
        format: "raw",
        poolName: "a",
        name: "y",
        provisioning: "thin",
        sizeBytes: 2n ** 31n,
        access: "block",
        storageClassName: "fast",
      },
    ],
    ["export id-1 /y --format qcow2", { verb: "export", id: "id-1", targetPath: "/y", format: "qcow2" }],
  ])("%s", async (line, expected) => {
    const { command, errors } = await run(`pool ${line} --pool a=/a`, "from-env");
    expect(errors).toEqual([]);
    expect(command).toMatchObject(expected);
  });

  test.each([
    ["pool", "a command is missing: give list, check, adopt, import or export"],
    ["pool bogus", "unknown command 'pool bogus'"],
    ["pool list", "at least one --pool NAME=DIR or --memory-pool NAME=BYTES, or pools in --config, is required"],
    ["pool list extra --pool a=/a", "too many arguments"],
    ["pool list --pool a=/a --config /nowhere.yaml", "--config /nowhere.yaml cannot be read"],
    ["pool adopt --pool a=/a", "missing required argument 'name'"],
    ["pool adopt b --pool a=/a", 'pool "b" is unknown, the flags and the file have a'],
    ["pool check --remove ../x --pool a=/a", '"../x" is not an id of a volume or a snapshot'],
    ["pool import /x --into b --pool a=/a", 'pool "b" is unknown'],
    ["pool import /x --format vmdk --pool a=/a", "argument 'vmdk' is invalid. Allowed choices are raw, qcow2"],
    ["pool import /x --name A --pool a=/a", '--name "A" must be 1 to 63 lower-case letters'],
    ["pool import /x --size much --pool a=/a", '--size size "much" must be a whole number of bytes'],
    ["pool export ../../etc /x --pool a=/a", '"../../etc" is not an id'],
    ["pool export id --pool a=/a", "missing required argument 'file'"],
  ])("%s: one line and exit code 2", async (line, message) => {
    const { exitCode, errors, command } = await run(line);
    expect(exitCode).toBe(2);
    expect(command).toBeUndefined();
    expect(errors).toHaveLength(1);
    expect(errors[0]).toMatch(/^ublk-csi: [^\n]+$/);
    expect(errors[0]).toContain(message);
  });
});
