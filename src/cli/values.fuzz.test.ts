import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { checkProperty } from "../testing/properties.js";
import { parseEngineConfig } from "./engine-config.js";
import {
  ConfigError,
  parseByteSize,
  parseDirectory,
  parseDriverName,
  parseEndpoint,
  parseNodeId,
  parsePoolFlag,
} from "./values.js";

/** Any text, and texts that are nearly right. */
const texts = fc.oneof(
  fc.string({ unit: "binary" }),
  fc.stringMatching(/^\/+[a-z./\0\n]*$/),
  fc.stringMatching(/^(unix:)?\/*[a-z/.]*$/),
  fc.stringMatching(/^[0-9]{0,20}[kMGT]?i?$/),
  fc.stringMatching(/^[a-z0-9.-]{0,70}=?.{0,5}$/),
);

/** The value that was understood, or undefined when it was refused as promised: in one line. */
function understand<T>(parse: () => T): T | undefined {
  try {
    return parse();
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    expect((error as Error).message).not.toMatch(/\p{Cc}/u);
    return undefined;
  }
}

describe("a value of the command line", () => {
  test("that is a directory is an absolute path below /", () => {
    checkProperty([texts], (text) => {
      const path = understand(() => parseDirectory("--state-dir", text));
      if (path !== undefined) expect(path).toMatch(/^\/[^\0]*[^/\0]$/);
    });
  });

  test("that is an endpoint is an absolute path short enough for a socket", () => {
    checkProperty([texts], (text) => {
      const path = understand(() => parseEndpoint(text));
      if (path !== undefined) expect(path).toMatch(/^\/[^\0]*[^/\0]$/);
    });
  });

  test("that is a size is between 1Mi and 1024Ti", () => {
    checkProperty([texts], (text) => {
      const sizeBytes = understand(() => parseByteSize("--memory-pool", text));
      if (sizeBytes !== undefined) expect(sizeBytes >= 2n ** 20n && sizeBytes <= 2n ** 50n).toBe(true);
    });
  });

  test("that is a name is safe in a path", () => {
    checkProperty([texts], (text) => {
      const names = [
        understand(() => parseNodeId(text)),
        understand(() => parseDriverName(text)),
        understand(() => parsePoolFlag("--pool", text))?.name,
      ];
      for (const name of names) if (name !== undefined) expect(name).toMatch(/^[A-Za-z0-9][A-Za-z0-9._-]*$/);
    });
  });

  test("of the engine's, in any order, makes a configuration or a ConfigError", () => {
    const flags = fc.constantFrom(
      "--endpoint",
      "--state-dir",
      "--take-over",
      "--dry-run",
      "--log-level",
      "-h",
      "--",
      "=",
    );
    checkProperty([fc.array(fc.oneof(flags, texts))], (args) => {
      understand(() => parseEngineConfig(args));
    });
  });
});
