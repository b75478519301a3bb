// What idle devices hold: `node idle-memory.js MODE COUNT IMAGE`, in a guest. Prints one line of JSON: the growth of this
// process per device, in KiB, when COUNT devices of one queue of depth 64 serve nothing.
import { readdirSync, readFileSync } from "node:fs";
import { createAndServe } from "../../dist/ublk/index.js";

const [dataMode, count, path] = process.argv.slice(2);

function readResources() {
  const text = readFileSync("/proc/self/status", "utf8");
  const read = (name) => Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(text)?.[1] ?? 0);
  const memory = { VmRSS: read("VmRSS"), VmLck: read("VmLck"), VmPin: read("VmPin") };
  return { ...memory, threads: read("Threads"), descriptors: readdirSync("/proc/self/fd").length };
}

const target = path === undefined ? { kind: "null" } : { kind: "file", path };
const options = { dataMode, queueCount: 1, queueDepth: 64 };
// The first device brings the library's own threads and code along.
const first = await createAndServe({ target, sizeBytes: 1 << 20 }, options);
global.gc?.();
const before = readResources();
const devices = [];
for (let i = 0; i < Number(count); i++) devices.push(await createAndServe({ target, sizeBytes: 1 << 20 }, options));
global.gc?.();
const after = readResources();
const perDevice = Object.entries(after).map(([name, value]) => [
  name,
  Math.round((value - before[name]) / Number(count)),
]);
console.log(JSON.stringify({ dataMode, count: Number(count), perDevice: Object.fromEntries(perDevice) }));
for (const device of [first, ...devices]) await device.stop();
