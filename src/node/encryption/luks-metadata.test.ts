import { expect, test } from "@jest/globals";
import { type ExpectedProtection, explainWeakness } from "./luks-metadata.js";

const expected: ExpectedProtection = { sectorSizeBytes: 512, headerSizeBytes: 16n * 1024n ** 2n };

/** As cryptsetup 2.6.1 prints it for a header that this driver has made. */
const ours = {
  keyslots: {
    "0": {
      type: "luks2",
      key_size: 64,
      af: { type: "luks1", stripes: 4000, hash: "sha256" },
      area: { type: "raw", offset: "32768", size: "258048", encryption: "aes-xts-plain64", key_size: 64 },
      kdf: { type: "argon2id", time: 4, memory: 65536, cpus: 4, salt: "c2FsdA==" },
    },
  },
  tokens: {},
  segments: {
    "0": {
      type: "crypt",
      offset: "16777216",
      size: "dynamic",
      iv_tweak: "0",
      encryption: "aes-xts-plain64",
      sector_size: 512,
    },
  },
  digests: { "0": { type: "pbkdf2", keyslots: ["0"], segments: ["0"] } },
  config: { json_size: "12288", keyslots_size: "16744448" },
};

const segmentWith = (change: object) => ({ ...ours, segments: { "0": { ...ours.segments["0"], ...change } } });
const keyslot = ours.keyslots["0"];
const keyslotWith = (change: object) => ({ ...ours, keyslots: { ...ours.keyslots, "1": { ...keyslot, ...change } } });

test("a header that this driver has made protects, with more keys as well", () => {
  expect(explainWeakness(JSON.stringify(ours), expected)).toBeUndefined();
  expect(explainWeakness(JSON.stringify(keyslotWith({})), expected)).toBeUndefined();
});

test.each([
  ["a data cipher that does nothing", segmentWith({ encryption: "cipher_null-ecb" }), /encryption/],
  [
    "a cipher for a key that does nothing",
    keyslotWith({ area: { ...keyslot.area, encryption: "cipher_null-ecb" } }),
    /area/,
  ],
  ["a shorter key", keyslotWith({ key_size: 32 }), /key_size/],
  ["a segment in the clear", segmentWith({ type: "linear" }), /type/],
  ["a segment that begins elsewhere", segmentWith({ offset: "4096" }), /offset/],
  ["a segment that ends before the device does", segmentWith({ size: "1048576" }), /size/],
  ["other sectors", segmentWith({ sector_size: 4096 }), /sector_size/],
  ["a second segment", { ...ours, segments: { ...ours.segments, "1": ours.segments["0"] } }, /1/],
  [
    "a conversion that is under way",
    { ...ours, config: { requirements: { mandatory: ["online-reencrypt"] } } },
    /config/,
  ],
  ["nothing", {}, /segments/],
])("a header with %s does not", (_what, header, reason) => {
  expect(explainWeakness(JSON.stringify(header), expected)).toMatch(reason);
});

test("what is no JSON protects nothing", () => {
  expect(explainWeakness("Device is not a valid LUKS device", expected)).toMatch(/JSON/);
});
