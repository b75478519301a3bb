/** Unit tests: no root, no kernel. The suites that need a guest have their own configuration in test/vm/. */
export default {
  testEnvironment: "node",
  roots: ["<rootDir>/src"],
  testMatch: ["**/*.test.ts"],
  extensionsToTreatAsEsm: [".ts"],
  moduleNameMapper: { "^(\\.{1,2}/.*)\\.js$": "$1" },
  transform: {
    "^.+\\.ts$": [
      "@swc/jest",
      { jsc: { target: "es2022", parser: { syntax: "typescript" } }, module: { type: "es6" } },
    ],
  },
  cacheDirectory: ".cache/jest",
  // Tests wait for conditions; on a busy machine these take longer than five seconds.
  testTimeout: 30_000,
};
