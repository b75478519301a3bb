/** The suites that need root and a real ublk driver: run them in a guest, with test/vm/run-suites. */
export default {
  rootDir: "../..",
  testEnvironment: "node",
  roots: ["<rootDir>/test/vm/suites", "<rootDir>/src"],
  testMatch: ["<rootDir>/test/vm/suites/**/*.test.ts"],
  extensionsToTreatAsEsm: [".ts"],
  moduleNameMapper: { "^(\\.{1,2}/.*)\\.js$": "$1" },
  transform: {
    "^.+\\.ts$": [
      "@swc/jest",
      { jsc: { target: "es2022", parser: { syntax: "typescript" } }, module: { type: "es6" } },
    ],
  },
  // Emulated kernels are slow. A test that waits for a condition has a shorter deadline of its own.
  testTimeout: 300_000,
  // One machine, one set of devices: suites that count what is left behind cannot share it.
  maxWorkers: 1,
  // Sees a checkout that changes outside, so nothing is kept from one boot to the next.
  cacheDirectory: "/tmp/jest",
};
