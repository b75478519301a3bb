// Serves one device until it is told to end: `node serve.js PARAMS OPTIONS`, both as JSON for createAndServe.
// Prints one line of JSON when the device answers I/O.
import { createAndServe } from "../../dist/ublk/index.js";

const [params, options] = process.argv.slice(2).map((text) => JSON.parse(text));
const device = await createAndServe(params, options);
const { path, queueCount, queueDepth, maxIoBytes, direct, dataMode, batch, features } = device;
console.log(JSON.stringify({ path, queueCount, queueDepth, maxIoBytes, direct, dataMode, batch, features }));

// A pending timer keeps the process alive; the device itself does not.
const alive = setInterval(() => {}, 2 ** 30);
process.once("SIGTERM", async () => {
  clearInterval(alive);
  await device.stop();
});
