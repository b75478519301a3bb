#!/usr/bin/env node
const [command, ...rest] = process.argv.slice(2);

// Each command loads only what it needs: an engine that starts after a crash has I/O waiting for it.
if (command === "engine") process.exitCode = await (await import("./cli/engine-main.js")).main(rest);
// What a node has still under way ends here, while it has its locks.
else process.exit(await (await import("./cli/node-main.js")).main(process.argv.slice(2)));
