import type { UblkErrorCode } from "../errors.js";
import { controlNodePath, type Environment } from "./environment.js";

/** What is known of a failed step. */
export interface Failure {
  imagePath?: string | undefined;
  deviceId?: number | undefined;
  step: string;
  errnoName: string;
  environment: Environment;
}

/** The cause in the words of a user, and the cure. */
export interface Explanation {
  code: UblkErrorCode;
  reason: string;
  hint: string;
}

/** Finds the likely cause of a failed step. `message` is what is left to say when there is none. */
export function explain(failure: Failure, message: string): Explanation {
  return (
    explainControlNode(failure) ??
    explainRing(failure) ??
    explainTarget(failure) ??
    explainLock(failure) ??
    explainLife(failure) ??
    explainKernelAnswer(failure) ?? {
      code: "kernel_refused",
      reason: message,
      hint: `see "dmesg | tail" for what kernel ${failure.environment.kernelRelease} says about it`,
    }
  );
}

function explainControlNode({ step, errnoName, environment }: Failure): Explanation | undefined {
  if (step !== "OPEN_CONTROL") return undefined;
  if (errnoName === "EACCES" || errnoName === "EPERM") return missingRights(`open ${controlNodePath}`, environment);
  if (environment.module === "available") {
    return {
      code: "module_not_loaded",
      reason: `kernel ${environment.kernelRelease} has ublk_drv, but it is not loaded`,
      hint: 'run "modprobe ublk_drv" (and name ublk_drv in /etc/modules-load.d/ to have it after a reboot)',
    };
  }
  if (environment.module === "loaded") {
    return {
      code: "module_not_loaded",
      reason: `ublk_drv is there, but ${controlNodePath} is not`,
      hint: "in a container, make the host's /dev visible; otherwise check that devtmpfs is mounted on /dev",
    };
  }
  return {
    code: "ublk_missing",
    reason: `kernel ${environment.kernelRelease} has no ublk driver (no ${controlNodePath}, no module ublk_drv)`,
    hint:
      "use a kernel of 6.8 or later built with CONFIG_BLK_DEV_UBLK; on Ubuntu's cloud images install " +
      `linux-modules-extra-${environment.kernelRelease}`,
  };
}

function explainRing({ step, errnoName, environment }: Failure): Explanation | undefined {
  if (step !== "CREATE_RING") return undefined;
  if (errnoName === "ENOSYS") {
    return {
      code: "io_uring_missing",
      reason: `kernel ${environment.kernelRelease} has no io_uring`,
      hint: "use a kernel built with CONFIG_IO_URING, and a seccomp profile that allows io_uring_setup",
    };
  }
  if (errnoName === "ENOMEM") return memoryLimit("io_uring's queues");
  if (errnoName !== "EPERM" && errnoName !== "EACCES") return undefined;
  if (environment.ioUringDisabled) {
    return {
      code: "io_uring_disabled",
      reason: `this machine forbids io_uring (kernel.io_uring_disabled=${environment.ioUringDisabled})`,
      hint: 'run "sysctl -w kernel.io_uring_disabled=0" and put the setting into /etc/sysctl.d/',
    };
  }
  return {
    code: "io_uring_disabled",
    reason: "io_uring_setup was refused",
    hint: "in a container, use a seccomp profile that allows io_uring_setup, io_uring_enter and io_uring_register",
  };
}

function explainTarget({ step, errnoName, imagePath }: Failure): Explanation | undefined {
  if (step !== "OPEN_TARGET") return undefined;
  const image = imagePath ?? "the target";
  if (errnoName === "ENOENT" || errnoName === "ENOTDIR") {
    return {
      code: "image_missing",
      reason: `${image} does not exist`,
      hint: "create the image with its full size first",
    };
  }
  if (errnoName === "ENOMEM" || errnoName === "EAGAIN") return memoryLimit(image);
  return {
    code: "image_unusable",
    reason: `${image} cannot be opened`,
    hint: "it must be a regular file or a block device which this process may read, and write unless readOnly is set",
  };
}

function explainLock({ step, errnoName, imagePath }: Failure): Explanation | undefined {
  if (step !== "LOCK_IMAGE") return undefined;
  const image = imagePath ?? "the target";
  if (errnoName === "EAGAIN") {
    return {
      code: "image_in_use",
      reason: `${image} is served by another device already, and two that write to it would destroy it`,
      hint: "end the other server first; only devices that are all read-only can share an image",
    };
  }
  return {
    code: "image_unusable",
    reason: `${image} cannot be locked, so nothing would keep a second server from writing to it`,
    hint: "keep it on a file system with locks (fcntl(2), F_OFD_SETLK)",
  };
}

function explainLife({ step, errnoName, imagePath }: Failure): Explanation | undefined {
  if (step === "FREEZE" && errnoName === "EALREADY") {
    return { code: "device_frozen", reason: "it is frozen already", hint: "thaw it first, or wait for its deadline" };
  }
  if (step === "FREEZE" && errnoName === "ETIMEDOUT") {
    return {
      code: "timeout",
      reason: "the requests in flight did not finish and become durable before the deadline; it was thawed again",
      hint: "try again with a longer deadlineMs, or look at what slows its image down",
    };
  }
  if (step === "FREEZE" && (errnoName === "ESHUTDOWN" || errnoName === "ECANCELED")) {
    const hint = "freeze it again when it is served";
    return { code: "device_stopped", reason: "it was thawed, stopped or released meanwhile", hint };
  }
  if (step !== "GROW_TARGET") return undefined;
  const image = imagePath ?? "the target";
  if (errnoName === "ENODATA") {
    return {
      code: "image_unusable",
      reason: `${image} is smaller than the new size`,
      hint: "grow the image first, then the device",
    };
  }
  return { code: "image_unusable", reason: `${image} cannot serve the new size`, hint: "the device stays as it was" };
}

function explainKernelAnswer(failure: Failure): Explanation | undefined {
  const { step, errnoName, environment, deviceId } = failure;
  if (step === "OPEN_CHAR" && errnoName === "EACCES") return missingNode("the device's node /dev/ublkcN");
  switch (errnoName) {
    case "ETIMEDOUT":
      return {
        code: "timeout",
        reason: `the kernel did not finish ${step || "the command"} in time`,
        hint: 'other devices are not affected; see "dmesg | tail", and check that nothing holds the device open',
      };
    case "EPERM":
      return missingRights(`do ${step}`, environment);
    case "EACCES":
      return step === "ADD_DEV" ? deviceLimit(environment) : missingRights(`do ${step}`, environment);
    case "ENOSPC":
      return step === "ADD_DEV" ? deviceLimit(environment) : undefined;
    case "EEXIST":
      return {
        code: "device_exists",
        reason: `there is already a device ${deviceId ?? "of this id"}`,
        hint: "choose another deviceId, or leave it out to get the next free one",
      };
    case "EBUSY":
      return {
        code: "device_busy",
        reason: "something still holds the device",
        hint: "end what uses it (a mount, an open file, another server) and try again",
      };
    case "ENODEV":
    case "ENOENT":
      return { code: "device_missing", reason: "the kernel has no such device", hint: 'compare with "ls /dev/ublkc*"' };
    case "ENOMEM":
      return memoryLimit("the queues' buffers");
    case "ENOTSUP":
      return {
        code: "feature_missing",
        reason: `kernel ${environment.kernelRelease} does not know ${step}`,
        hint: "use a kernel of 6.8 or later",
      };
    default:
      return undefined;
  }
}

function missingRights(what: string, { isRoot }: Environment): Explanation {
  return {
    code: "permission_denied",
    reason: `this process may not ${what}`,
    hint: isRoot
      ? "in a container, make it privileged (CAP_SYS_ADMIN and the host's /dev)"
      : `run it as root or with CAP_SYS_ADMIN, or create devices with unprivileged: true and ${installRules}`,
  };
}

/** What an ordinary user needs of the machine. */
const installRules = "install deploy/udev/59-ublk.rules (docs/library.md has the steps)";

/** An unprivileged device whose node udev has not given to its maker. */
export function missingNode(path: string): Explanation {
  return {
    code: "permission_denied",
    reason: `${path} was not given to the user of this process`,
    hint: `check that udev runs, and ${installRules}`,
  };
}

function deviceLimit({ maxDevices }: Environment): Explanation {
  return {
    code: "device_limit",
    reason: `the kernel accepts no further ublk device${maxDevices === undefined ? "" : ` (ublks_max=${maxDevices})`}`,
    hint: 'raise the limit: "echo 4096 > /sys/module/ublk_drv/parameters/ublks_max", or load it with "ublks_max=4096"',
  };
}

function memoryLimit(what: string): Explanation {
  return {
    code: "memory_limit",
    reason: `no memory could be had for ${what}`,
    hint: "raise the memory limit and RLIMIT_MEMLOCK, or ask for fewer queues, a smaller queueDepth or maxIoBytes",
  };
}
