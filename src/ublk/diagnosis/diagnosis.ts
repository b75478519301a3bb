import { describeUsers, findDeviceUsers, findServers } from "./device-users.js";
import { findImageLockers } from "./image-lockers.js";

/** Who holds the two nodes of a device, and its image. */
export interface DeviceHolders {
  findUsers: typeof findDeviceUsers;
  findServers: typeof findServers;
  findLockers: typeof findImageLockers;
}

/** Looks at the running machine. */
export const machineHolders: DeviceHolders = {
  findUsers: findDeviceUsers,
  findServers,
  findLockers: findImageLockers,
};

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

/** Who has the image that this process cannot have. Never throws. */
export async function diagnoseLock(
  imagePath: string | undefined,
  { findLockers }: DeviceHolders = machineHolders,
): Promise<string> {
  const lockers = imagePath === undefined ? [] : await findLockers(imagePath).catch(() => []);
  return lockers.length === 0 ? "" : `; it is locked by ${lockers.join(", ")}`;
}

async function findHolders(deviceId: number, { findUsers, findServers }: DeviceHolders): Promise<string[]> {
  const users = await findUsers(deviceId, false).catch(() => []);
  const servers = await findServers(deviceId).catch(() => []);
  const facts: string[] = [];
  if (users.length > 0) facts.push(`/dev/ublkb${deviceId} is held by ${describeUsers(users)}`);
  if (servers.length > 0) facts.push(`/dev/ublkc${deviceId} is held by ${servers.join(", ")}`);
  return facts;
}
