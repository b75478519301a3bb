import { access, constants, readFile } from "node:fs/promises";
import { release, version } from "node:os";
import { getuid } from "node:process";

/** The few facts of the machine that explain why ublk does not work. Tests give their own. */
export interface EnvironmentReader {
  /** As `uname -r` prints it. */
  kernelRelease(): string;
  /** As `uname -v` prints it. */
  kernelVersion(): string;
  /** The text of a file, or undefined when it cannot be read. */
  readText(path: string): Promise<string | undefined>;
  exists(path: string): Promise<boolean>;
  /** Whether this process may open the file for reading and writing, as far as its mode says. */
  mayOpen(path: string): Promise<boolean>;
  userId(): number;
}

/** What stands between this process and ublk. */
export interface Environment {
  kernelRelease: string;
  controlNode: boolean;
  /** `loaded` also covers a driver that is built in. */
  module: "loaded" | "available" | "missing";
  /** kernel.io_uring_disabled: 0 allowed, 1 for a group only, 2 for nobody; undefined where there is no such setting. */
  ioUringDisabled: number | undefined;
  isRoot: boolean;
  /** ublk_drv's `ublks_max`, once it is loaded. */
  maxDevices: number | undefined;
}

export const controlNodePath = "/dev/ublk-control";

/** Bit number in capability(7)'s masks. */
const capSysAdmin = 21n;

/** Reads the running machine. */
export const machineReader: EnvironmentReader = {
  kernelRelease: release,
  kernelVersion: version,
  readText: (path) => readFile(path, "utf8").catch(() => undefined),
  exists: (path) => isAccessible(path, constants.F_OK),
  mayOpen: (path) => isAccessible(path, constants.R_OK | constants.W_OK),
  userId: () => getuid?.() ?? 0,
};

/** Looks at what a failing operation may have missed. Touches nothing and never throws. */
export async function probeEnvironment(reader: EnvironmentReader): Promise<Environment> {
  const kernelRelease = reader.kernelRelease();
  return {
    kernelRelease,
    controlNode: await reader.exists(controlNodePath),
    module: await findModule(reader, kernelRelease),
    ioUringDisabled: toNumber(await reader.readText("/proc/sys/kernel/io_uring_disabled")),
    isRoot: reader.userId() === 0,
    maxDevices: toNumber(await reader.readText("/sys/module/ublk_drv/parameters/ublks_max")),
  };
}

function isAccessible(path: string, mode: number): Promise<boolean> {
  return access(path, mode).then(
    () => true,
    () => false,
  );
}

/** Whether this process has CAP_SYS_ADMIN, which root may lack in a container and another user may have. */
export async function isPrivileged(reader: EnvironmentReader): Promise<boolean> {
  const status = await reader.readText("/proc/self/status");
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(status ?? "")?.[1];
  return effective === undefined ? reader.userId() === 0 : ((BigInt(`0x${effective}`) >> capSysAdmin) & 1n) === 1n;
}

async function findModule(reader: EnvironmentReader, kernelRelease: string): Promise<Environment["module"]> {
  if (await reader.exists("/sys/module/ublk_drv")) return "loaded";
  const modules = await reader.readText("/proc/modules");
  if (modules && /^ublk_drv /m.test(modules)) return "loaded";
  const folder = `/lib/modules/${kernelRelease}`;
  const builtIn = await reader.readText(`${folder}/modules.builtin`);
  if (builtIn?.includes("/ublk_drv.ko")) return "loaded";
  const loadable = await reader.readText(`${folder}/modules.dep`);
  return loadable && /(^|\/)ublk_drv\.ko[.a-z]*:/m.test(loadable) ? "available" : "missing";
}

function toNumber(text: string | undefined): number | undefined {
  return text === undefined || text.trim() === "" ? undefined : Number(text);
}
