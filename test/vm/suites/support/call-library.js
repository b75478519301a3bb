/**
 * Calls one function of the built library, for tests that do so as another user.
 * Usage: call-library.js NAME '[argument, ...]' [POINT]. Ends at the fail point, as by SIGKILL, when one is given. Prints the result, or {"error": {code, message}}, as JSON.
 */

import { dieAtCommand } from "../../../../dist/ublk/fail-point.js";
import { createAndServe, listDevices, removeDevice, reportFeatures } from "../../../../dist/ublk/index.js";

const functions = { createAndServe, listDevices, removeDevice, reportFeatures };
const [name, args, point] = process.argv.slice(2);
if (point !== undefined && !dieAtCommand(point)) throw new RangeError(`there is no fail point ${point}`);
const toText = (_key, value) => (typeof value === "bigint" ? value.toString() : value);
const result = await functions[name](...JSON.parse(args)).catch(({ code, message }) => ({ error: { code, message } }));
process.stdout.write(JSON.stringify(result ?? null, toText));
