import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { BlockDeviceError } from "../engine/block-devices.js";
import { AttachRequest } from "../gen/engine/v1/engine.js";
import { checkProperty } from "../testing/properties.js";
import { checkSpec, checkVolumeIds } from "./request-checks.js";

const paths = fc.oneof(fc.string({ unit: "binary" }), fc.stringMatching(/^\/[a-z./\0]{0,20}$/));
const requests = fc.record({
  volumeId: fc.oneof(fc.string(), fc.stringMatching(/^[a-z0-9-]{0,130}$/), fc.constantFrom("..", "a/b", "a\0")),
  image: fc.option(fc.record({ kind: fc.integer({ min: -1, max: 3 }), path: paths }), { nil: undefined }),
  sizeBytes: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  logicalBlockSizeBytes: fc.oneof(fc.nat(), fc.constantFrom(512, 4096)),
  queueCount: fc.option(fc.nat(), { nil: undefined }),
  queueDepth: fc.option(fc.nat(), { nil: undefined }),
});

/** A spec that is safe to act on, or the error of a request that is wrong. */
function expectSpecOrError(request: AttachRequest): void {
  try {
    const { volumeId, image, sizeBytes, logicalBlockSizeBytes } = checkSpec(request);
    expect(volumeId).toMatch(/^[a-z0-9-]{1,128}$/);
    expect(image.path).toMatch(/^\/[^\0]*[^/\0]$/);
    expect(image.path.split("/")).not.toContain("..");
    expect(sizeBytes > 0n && sizeBytes % BigInt(logicalBlockSizeBytes) === 0n).toBe(true);
  } catch (error) {
    expect(error).toBeInstanceOf(BlockDeviceError);
    expect((error as BlockDeviceError).code).toBe("invalid");
  }
}

describe("a request to the engine", () => {
  test("of any content is a safe spec or is invalid", () => {
    checkProperty([requests], (request) => expectSpecOrError(AttachRequest.fromPartial(request)));
  });

  test("of any bytes that can be decoded is a safe spec or is invalid", () => {
    const mutated = fc.tuple(requests, fc.nat(), fc.integer({ min: 0, max: 255 })).map(([request, position, byte]) => {
      const bytes = AttachRequest.encode(AttachRequest.fromPartial(request)).finish();
      if (bytes.length > 0) bytes[position % bytes.length] = byte;
      return bytes;
    });
    checkProperty([fc.oneof(fc.uint8Array(), mutated)], (bytes) => {
      const request = decode(bytes);
      if (request) expectSpecOrError(request);
    });
  });

  test("for a group has each id once, and each is one", () => {
    checkProperty([fc.array(fc.oneof(fc.string(), fc.constantFrom("a", "b", "c")))], (ids) => {
      try {
        expect(new Set(checkVolumeIds(ids)).size).toBe(ids.length);
      } catch (error) {
        expect(error).toBeInstanceOf(BlockDeviceError);
      }
    });
  });
});

function decode(bytes: Uint8Array): AttachRequest | undefined {
  try {
    return AttachRequest.decode(bytes);
  } catch {
    return undefined;
  }
}
