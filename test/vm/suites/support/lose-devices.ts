import { exists } from "./exists.js";
import { loadLibrary } from "./library.js";
import type { TestBed } from "./test-bed.js";
import { waitFor } from "./wait-for.js";

/**
 * These devices go away below their mounts, as when somebody removes by hand what a dead driver has left, and another driver
 * starts. `isRemoved` waits for the last user of them.
 */
export async function loseDevices(bed: TestBed, ...deviceIds: number[]): Promise<{ isRemoved: Promise<unknown> }> {
  const { listDevices, removeDevice } = await loadLibrary();
  await bed.driver.kill();
  await waitFor(`devices ${deviceIds} to have no server`, async () => {
    const devices = await listDevices();
    return devices.every(({ deviceId, state }) => !deviceIds.includes(deviceId) || state !== "live");
  });
  // The block device is gone before its removal is over.
  const removals = deviceIds.map((id) => removeDevice(id, { force: true }).catch(() => undefined));
  for (const id of deviceIds)
    await waitFor(`device ${id} to be gone`, async () => !(await exists(`/sys/block/ublkb${id}`)));
  await bed.restart();
  return { isRemoved: Promise.all(removals) };
}
