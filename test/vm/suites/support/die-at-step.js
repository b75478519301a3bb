/**
 * Loaded into a driver before its own modules (node --import): lets it end, as by SIGKILL, right after the n-th of its steps
 * that outlive it. Those are all changes of files, all programs (one step when started, one when ended) and all native
 * calls that change a device or an image, among them each control command. They are counted where Node hands them out,
 * so that no step of the driver can be forgotten, and a driver that runs without this has nothing of it.
 *
 * UBLK_STEPS is a directory with the file `limit`. SIGUSR2 begins to count from 0, with no end when the limit is 0; the names
 * of the steps go to the file `taken`.
 */
import childProcess from "node:child_process";
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { basename, join } from "node:path";

const directory = process.env.UBLK_STEPS;
const takenPath = join(directory, "taken");

/** Undefined until the first signal. */
let limit;
let count = 0;

process.on("SIGUSR2", () => {
  limit = Number(fs.readFileSync(join(directory, "limit"), "utf8"));
  count = 0;
  fs.writeFileSync(takenPath, "");
});

function reach(name) {
  if (limit === undefined) return;
  count++;
  fs.appendFileSync(takenPath, `${name}\n`);
  if (count === limit) process.kill(process.pid, "SIGKILL");
}

/** Whether the next step is the last one, and so belongs to whoever can die within it. */
const isLast = () => limit !== undefined && count + 1 === limit;

countFileSteps();
await countHandleSteps();
countPrograms();
countNativeCalls();
syncBuiltinESMExports();

function countFileSteps() {
  const verbs = ["mkdir", "rmdir", "rename", "truncate", "writeFile", "appendFile", "copyFile", "link", "symlink"];
  for (const verb of [...verbs, "chmod", "chown", "utimes"]) {
    const original = fs.promises[verb];
    fs.promises[verb] = async (...args) => {
      const result = await original(...args);
      reach(`${verb} ${basename(String(args.at(verb === "rename" ? 1 : 0)))}`);
      return result;
    };
  }
  for (const verb of ["rm", "unlink"]) {
    const original = fs.promises[verb];
    fs.promises[verb] = async (path, ...rest) => {
      const wasThere = fs.lstatSync(path, { throwIfNoEntry: false }) !== undefined;
      await original(path, ...rest);
      if (wasThere) reach(`${verb} ${basename(String(path))}`);
    };
  }
}

/** A file that is opened for writing is made, or emptied; what is written to it comes on its own. */
async function countHandleSteps() {
  const { open } = fs.promises;
  fs.promises.open = async (path, flags = "r", ...rest) => {
    const handle = await open(path, flags, ...rest);
    if (typeof flags === "number" ? (flags & fs.constants.O_CREAT) !== 0 : /[wa]/.test(flags)) {
      reach(`open ${basename(String(path))}`);
    }
    return handle;
  };
  const handle = await open("/dev/null");
  const prototype = Object.getPrototypeOf(handle);
  await handle.close();
  for (const verb of ["write", "writev", "writeFile", "appendFile", "truncate", "chmod", "chown"]) {
    const original = prototype[verb];
    prototype[verb] = async function (...args) {
      const result = await original.apply(this, args);
      reach(`${verb} of an open file`);
      return result;
    };
  }
}

/** Programs that change nothing. */
const readers = new Set(["blkid", "dumpe2fs", "find", "stat"]);

function countPrograms() {
  const { spawn } = childProcess;
  childProcess.spawn = (program, ...rest) => {
    const child = spawn(program, ...rest);
    if (readers.has(program)) return child;
    // The program goes on without its driver.
    reach(`start ${program}`);
    child.once("close", () => reach(`end ${program}`));
    return child;
  };
}

/** The control commands of a native call, which can die between them: see src/ublk/fail-point.ts. */
const commandsOf = {
  openDevice: ([{ recover }]) =>
    recover ? ["START_USER_RECOVERY", "END_USER_RECOVERY"] : ["ADD_DEV", "SET_PARAMS", "START_DEV"],
  closeDevice: ([, how]) =>
    ({ remove: ["STOP_DEV", "DEL_DEV"], "remove-unused": ["TRY_STOP_DEV", "DEL_DEV"], release: [] })[how],
  resizeDevice: () => ["UPDATE_SIZE"],
};
const otherCalls = ["quiesceDevice", "setLimits", "freezeDevices", "thawDevices", "removeDevice"];
const imageCalls = ["cloneFile", "createCopy", "resumeCopy", "startCopies", "cancelCopy"];

function countNativeCalls() {
  const { dlopen } = process;
  process.dlopen = (module, ...rest) => {
    dlopen.call(process, module, ...rest);
    const native = module.exports;
    if (typeof native.openDevice !== "function") return;
    const wrapped = {};
    for (const name of [...Object.keys(commandsOf), ...otherCalls, ...imageCalls]) {
      wrapped[name] = async (...args) => {
        for (const command of commandsOf[name]?.(args) ?? []) {
          if (isLast()) native.dieAt(`after:${command}`);
          else reach(command);
        }
        const result = await native[name](...args);
        reach(name);
        return result;
      };
    }
    module.exports = { ...native, ...wrapped };
  };
}
