import { join } from "node:path";
import { expect } from "@jest/globals";
import { repositoryPath } from "./repository.js";
import { runCommand } from "./run-command.js";

const script = join(repositoryPath, "test/vm/suites/support/call-library.js");

/** Another process deletes a device that is dead. */
export async function deleteDevice(deviceId: number): Promise<void> {
  expect(await runCommand(process.execPath, [script, "removeDevice", JSON.stringify([deviceId])])).toBe("null");
}

/** Another process stops a device that has no server, and dies before it has deleted it. */
export async function stopDevice(deviceId: number): Promise<void> {
  const args = [script, "removeDevice", JSON.stringify([deviceId, { force: true }]), "after:STOP_DEV"];
  await expect(runCommand(process.execPath, args)).rejects.toThrow("SIGKILL");
}
