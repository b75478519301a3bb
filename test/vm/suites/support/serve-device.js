/**
 * Serves one device in a process of its own, for tests that kill it. Runs the built library, as its users do.
 * Usage: serve-device.js '{"create": [params, options]}' | '{"recover": [deviceId, target, options]}', each with "freezeMs" or "dieAt" or without
 * Prints `serving N`, and ends when its input does, with the device still open.
 */
import { dieAtCommand } from "../../../../dist/ublk/fail-point.js";
import { createAndServe, freeze, recoverAndServe } from "../../../../dist/ublk/index.js";
import { DeafBackend, FileBackend } from "./file-backend.js";

/** JSON has no methods: it names a backend of file-backend.js instead. */
async function withBackend(target) {
  if (target.kind !== "js") return target;
  const { backend } = target;
  return { kind: "js", backend: backend === "deaf" ? new DeafBackend() : await FileBackend.open(backend.file) };
}

async function serve({ create, recover }) {
  if (create) {
    const [params, options] = create;
    return await createAndServe({ ...params, target: await withBackend(params.target) }, options);
  }
  const [deviceId, target, options] = recover;
  return await recoverAndServe(deviceId, await withBackend(target), options);
}

const request = JSON.parse(process.argv[2]);
if (request.dieAt && !dieAtCommand(request.dieAt)) throw new RangeError(`there is no fail point ${request.dieAt}`);
const device = await serve(request);
if (request.freezeMs) await freeze(device, { deadlineMs: request.freezeMs });
process.stdout.write(`serving ${device.deviceId}\n`);
for await (const _chunk of process.stdin);
process.exit(0);
