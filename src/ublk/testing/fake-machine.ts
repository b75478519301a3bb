import type { EnvironmentReader } from "../diagnosis/environment.js";

/** What a test says of its machine; the rest is that of a healthy one with ublk loaded. */
export interface FakeMachine {
  kernelRelease?: string;
  kernelVersion?: string;
  userId?: number;
  /** Default: everything. */
  mayOpen?: (path: string) => boolean;
  /** Files by path; replaces the healthy machine's. */
  files?: Record<string, string>;
}

const healthyFiles = {
  "/dev/ublk-control": "",
  "/sys/module/ublk_drv": "",
  "/sys/module/ublk_drv/parameters/ublks_max": "64\n",
  "/proc/sys/kernel/io_uring_disabled": "0\n",
};

/** An `EnvironmentReader` that looks at nothing but its argument. */
export function reader(machine: FakeMachine = {}): EnvironmentReader {
  const files: Record<string, string> = machine.files ?? healthyFiles;
  return {
    kernelRelease: () => machine.kernelRelease ?? "7.3.0-test",
    kernelVersion: () => machine.kernelVersion ?? "#1 SMP PREEMPT_DYNAMIC",
    userId: () => machine.userId ?? 0,
    readText: async (path) => files[path],
    exists: async (path) => path in files,
    mayOpen: async (path) => machine.mayOpen?.(path) ?? true,
  };
}
