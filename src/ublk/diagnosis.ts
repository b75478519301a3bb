import { describeUsers, findDeviceUsers, findServers } from "./device-users.js";

/** Who holds the two nodes of a device. */
export interface DeviceHolders {
  findUsers: typeof findDeviceUsers;
  findServers: typeof findServers;
}

/** Looks at the running machine. */
export const machineHolders: DeviceHolders = { findUsers: findDeviceUsers, findServers };

/**
 * What is known of a command that the kernel did not finish: how long it was waited for, where in the kernel it stands,
 * and who holds the device. Never throws, and opens no device: that could wait as well.
 */
export async function diagnoseTimeout(
  cause: unknown,
  deviceId: number | undefined,
  holders: DeviceHolders = machineHolders,
): Promise<string> {
  const { waitedMs, seen } = (cause ?? {}) as { waitedMs?: unknown; seen?: unknown };
  const facts: string[] = [];
  if (typeof waitedMs === "number") facts.push(`it was waited for ${waitedMs} ms`);
  if (typeof seen === "string") facts.push(`it stands in ${seen}`);
  if (deviceId !== undefined) facts.push(...(await findHolders(deviceId, holders)));
  return facts.map((fact) => `; ${fact}`).join("");
}

async function findHolders(deviceId: number, { findUsers, findServers }: DeviceHolders): Promise<string[]> {
  const users = await findUsers(deviceId, false).catch(() => []);
  const servers = await findServers(deviceId).catch(() => []);
  const facts: string[] = [];
  if (users.length > 0) facts.push(`/dev/ublkb${deviceId} is held by ${describeUsers(users)}`);
  if (servers.length > 0) facts.push(`/dev/ublkc${deviceId} is held by ${servers.join(", ")}`);
  return facts;
}
