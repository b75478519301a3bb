import { copyFile, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { repositoryPath } from "./repository.js";
import { runCommand } from "./run-command.js";

/** The ids of the udev daemons that run here. */
export async function findUdevDaemons(): Promise<number[]> {
  const ids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  const names = await Promise.all(ids.map((id) => readFile(`/proc/${id}/comm`, "utf8").catch(() => "")));
  return ids.filter((_id, i) => /^(systemd-udevd|udevd)\n/.test(names[i] ?? "")).map(Number);
}

/** Puts a rule file where udev reads it, and returns what takes it away again. */
export async function installRules(name: string, text: string): Promise<() => Promise<void>> {
  const path = `/etc/udev/rules.d/${name}`;
  await writeFile(path, text);
  await runCommand("udevadm", ["control", "--reload"]);
  return async () => {
    await rm(path);
    await runCommand("udevadm", ["control", "--reload"]);
  };
}

/** The rules that the project ships for processes that are not root, and their helper, as an administrator installs them. */
export async function installShippedRules(): Promise<() => Promise<void>> {
  await copyFile(join(repositoryPath, "native/build/Release/ublk-owner"), "/usr/lib/udev/ublk-owner");
  const text = await readFile(join(repositoryPath, "deploy/udev/59-ublk.rules"), "utf8");
  const remove = await installRules("59-ublk.rules", text);
  await runCommand("udevadm", ["trigger", "--action=change", "/dev/ublk-control"]);
  await settle();
  return remove;
}

/** Waits until udev has handled every event so far. */
export async function settle(): Promise<void> {
  await runCommand("udevadm", ["settle", "--timeout=60"]);
}
