/**
 * Makes dist/bin/ublk-csi.js, the command with all it imports, from what the TypeScript compiler left in dist/. What a
 * command imports only when it needs it stays in files of its own.
 */
import { chmod, rm } from "node:fs/promises";
import { build } from "esbuild";

await rm("dist/bin", { recursive: true, force: true });
await build({
  entryPoints: { "ublk-csi": "dist/main.js" },
  outdir: "dist/bin",
  bundle: true,
  splitting: true,
  platform: "node",
  target: "node20",
  format: "esm",
  // Names stay readable in stack traces; comments and indentation would be parsed at every start.
  minifySyntax: true,
  minifyWhitespace: true,
  sourcemap: "linked",
  legalComments: "linked",
  // CommonJS packages ask for Node's own modules with `require`, which a module does not have.
  banner: { js: 'import{createRequire as makeRequire}from"node:module";const require=makeRequire(import.meta.url);' },
  logLevel: "warning",
});
await chmod("dist/bin/ublk-csi.js", 0o755);
