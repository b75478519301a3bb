import { describe, expect, test } from "@jest/globals";
import { AttachRequest, Image_Kind } from "../gen/engine/v1/engine.js";
import { toAttachRequest } from "./messages.js";
import { checkRange, checkSize, checkSpec, checkToken, checkVolumeIds } from "./request-checks.js";

const spec = {
  volumeId: "vol-1",
  image: { kind: "memory", path: "/pool/volumes/vol-1/image" },
  sizeBytes: 1n << 40n,
  readOnly: true,
  logicalBlockSizeBytes: 4096,
  discard: true,
  queueCount: 2,
  queueDepth: 32,
} as const;

const valid = toAttachRequest(spec);

describe("a request to attach", () => {
  test("is understood, over the wire too, with and without what may be left out", () => {
    const { queueCount: _queueCount, queueDepth: _queueDepth, ...least } = spec;
    expect(checkSpec(AttachRequest.decode(AttachRequest.encode(valid).finish()))).toEqual(spec);
    expect(checkSpec(AttachRequest.decode(AttachRequest.encode(toAttachRequest(least)).finish()))).toEqual(least);
  });

  test.each<[string, Partial<AttachRequest>]>([
    ["volume_id", { volumeId: "../../etc" }],
    ["volume_id", { volumeId: "" }],
    ["volume_id", { volumeId: "a".repeat(129) }],
    ["image.path", { image: undefined }],
    ["image.path", { image: { kind: Image_Kind.KIND_FILE, path: "image" } }],
    ["image.path", { image: { kind: Image_Kind.KIND_FILE, path: "/pool/../etc/shadow" } }],
    ["image.path", { image: { kind: Image_Kind.KIND_FILE, path: "/pool//image" } }],
    ["image.path", { image: { kind: Image_Kind.KIND_FILE, path: "/pool/" } }],
    ["image.path", { image: { kind: Image_Kind.KIND_FILE, path: "/pool\0/image" } }],
    ["image.path", { image: { kind: Image_Kind.KIND_FILE, path: `/${"a".repeat(4096)}` } }],
    ["image.kind", { image: { kind: Image_Kind.KIND_UNSPECIFIED, path: "/image" } }],
    ["image.kind", { image: { kind: 77 as Image_Kind, path: "/image" } }],
    ["logical_block_size_bytes", { logicalBlockSizeBytes: 0 }],
    ["logical_block_size_bytes", { logicalBlockSizeBytes: 1024 }],
    ["size_bytes", { sizeBytes: 0n }],
    ["size_bytes", { sizeBytes: 4096n + 512n }],
    ["size_bytes", { sizeBytes: 2n ** 64n - 4096n }],
    ["queue_count", { queueCount: 0 }],
    ["queue_count", { queueCount: 4097 }],
    ["queue_depth", { queueDepth: 0 }],
    ["queue_depth", { queueDepth: 4_294_967_295 }],
  ])("with another %s is refused, which is named", (name, change) => {
    expect(() => checkSpec({ ...valid, ...change })).toThrow(
      expect.objectContaining({ code: "invalid", message: expect.stringContaining(`${name} is `) }),
    );
  });
});

test("a group has each volume once, and at least one", () => {
  expect(checkVolumeIds(["a", "b"])).toEqual(["a", "b"]);
  expect(() => checkVolumeIds([])).toThrow("volume_ids is a list of 0; expected 1 to 1024 ids");
  expect(() => checkVolumeIds(["a", "b", "a"])).toThrow("a list with a twice");
  expect(() => checkVolumeIds(Array.from({ length: 1025 }, (_, index) => `v${index}`))).toThrow("a list of 1025");
});

test("sizes and numbers have bounds", () => {
  expect(checkSize(512n, 512)).toBe(512n);
  expect(() => checkSize(1n, 512)).toThrow("size_bytes is 1; expected a multiple of 512 from 512");
  expect(checkRange("deadline_ms", 1, 1, 10)).toBe(1);
  expect(() => checkRange("deadline_ms", 0, 1, 10)).toThrow("deadline_ms is 0; expected 1 to 10");
});

test("a thaw without the token of a freeze is refused, for it would end whichever there is", () => {
  expect(checkToken(1n)).toBe(1n);
  expect(() => checkToken(0n)).toThrow("token is 0; expected what Freeze answered");
});
