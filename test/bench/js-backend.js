// What a backend in JavaScript costs: `node js-backend.js [SECONDS]` in a guest with ublk and fio. Serves the same disk by
// a Backend and by the native memory target, measures them in turn, and prints a table in Markdown.
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { createAndServe } from "../../dist/ublk/index.js";

const seconds = Number(process.argv[2] ?? 4);
const rounds = 3;
const sizeBytes = 64 * 1024 ** 2;
const run = promisify(execFile);

/** The backend of docs/targets.md. */
class MemoryBackend {
  size = BigInt(sizeBytes);
  bytes = Buffer.alloc(sizeBytes);

  readAt(buffer, offset) {
    this.bytes.copy(buffer, 0, offset, offset + buffer.length);
  }

  writeAt(buffer, offset) {
    buffer.copy(this.bytes, offset);
  }
}

async function measure({ path }, depth) {
  const job = [`--filename=${path}`, "--direct=1", "--rw=randread", "--bs=4k", "--ioengine=io_uring", "--norandommap"];
  const time = ["--time_based", `--runtime=${seconds}`, "--ramp_time=1", `--iodepth=${depth}`];
  const { stdout } = await run("fio", ["--name=price", "--output-format=json", ...job, ...time]);
  const [result] = JSON.parse(stdout.slice(stdout.indexOf("{"))).jobs;
  return result.read.iops;
}

const median = (values) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)];
const backend = await createAndServe({ target: { kind: "js", backend: new MemoryBackend() } });
const native = await createAndServe({ target: { kind: "memory" }, sizeBytes }, { dataMode: "copy" });
console.log("| requests in flight | `memory`, IOPS | `js`, IOPS | `memory` : `js` |");
console.log("|---|---|---|---|");
for (const depth of [1, 32]) {
  const figures = { js: [], native: [] };
  for (let round = 0; round < rounds; round++) {
    figures.native.push(await measure(native, depth));
    figures.js.push(await measure(backend, depth));
  }
  const [slow, fast] = [median(figures.js), median(figures.native)];
  console.log(`| ${depth} | ${Math.round(fast)} | ${Math.round(slow)} | ${(fast / slow).toFixed(1)} |`);
}
await Promise.all([backend.stop(), native.stop()]);
