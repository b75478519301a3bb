#!/usr/bin/env node
const [command, ...rest] = process.argv.slice(2);

// Each command loads only what it needs: an engine that starts after a crash has I/O waiting for it.
process.exitCode =
  command === "engine"
    ? await (await import("./cli/engine-main.js")).main(rest)
    : await (await import("./cli/node-main.js")).main(process.argv.slice(2));
