/**
 * Serves one device in a process of its own, for tests that kill it. Runs the built library, as its users do.
 * Usage: serve-device.js '{"create": [params, options]}' | '{"recover": [deviceId, target, options]}', each with "freezeMs" or without
 * Prints `serving N`, and ends when its input does, with the device still open.
 */
import { createAndServe, freeze, recoverAndServe } from "../../../../dist/ublk/index.js";

const { create, recover, freezeMs } = JSON.parse(process.argv[2]);
const device = create ? await createAndServe(...create) : await recoverAndServe(...recover);
if (freezeMs) await freeze(device, { deadlineMs: freezeMs });
process.stdout.write(`serving ${device.deviceId}\n`);
for await (const _chunk of process.stdin);
process.exit(0);
