import { expect, test } from "@jest/globals";
import { parseVolumeParameters } from "./parameters.js";

test("nothing chosen means a thick volume with blocks of 512 bytes", () => {
  expect(parseVolumeParameters({})).toEqual({
    pool: undefined,
    provisioning: "thick",
    logicalBlockSizeBytes: 512,
    queueCount: undefined,
    queueDepth: undefined,
  });
});

test("every choice is read", () => {
  const parameters = { pool: "fast", provisioning: "thin", logicalBlockSize: "4096", queues: "2", queueDepth: "128" };
  expect(parseVolumeParameters(parameters)).toEqual({
    pool: "fast",
    provisioning: "thin",
    logicalBlockSizeBytes: 4096,
    queueCount: 2,
    queueDepth: 128,
  });
});

test("times of trimming are read in minutes", () => {
  const parse = (parameters: Record<string, string>) =>
    parseVolumeParameters({ provisioning: "thin", ...parameters }).trimIntervalMinutes;
  expect([
    parse({}),
    parse({ trimInterval: "30m" }),
    parse({ trimInterval: "24h" }),
    parse({ trimInterval: "7d" }),
  ]).toEqual([undefined, 30, 24 * 60, 7 * 24 * 60]);
});

test("encryption is read with its choices", () => {
  const parameters = { encryption: "luks2", encryptionDiscard: "true", encryptionMemory: "128Mi" };
  expect(parseVolumeParameters(parameters)).toMatchObject({
    encryption: "luks2",
    encryptionDiscard: true,
    encryptionMemoryBytes: 128 * 1024 ** 2,
  });
});

test("what Kubernetes adds for information is ignored", () => {
  const added = { "csi.storage.k8s.io/pvc/name": "data", "csi.storage.k8s.io/fstype": "xfs" };
  expect(parseVolumeParameters(added)).toEqual(parseVolumeParameters({}));
});

test.each([
  [{ encryption: "true" }, 'parameter encryption is "true", allowed is "luks2"'],
  [{ encryption: "luks2", encryptionMemory: "16Mi" }, 'encryptionMemory is "16Mi", allowed is a size from 32Mi to 1Gi'],
  [{ encryption: "luks2", encryptionMemory: "8Gi" }, 'encryptionMemory is "8Gi", allowed is a size from 32Mi to 1Gi'],
  [{ encryptionDiscard: "true" }, 'parameter encryptionDiscard is for encrypted volumes: add encryption "luks2"'],
  [{ encryption: "luks2", provisioning: "thin", trimAtUnstage: "true" }, 'add encryptionDiscard "true"'],
  [{ provisioning: "fat" }, 'parameter provisioning is "fat", allowed is "thick" or "thin"'],
  [{ logicalBlockSize: "1024" }, 'parameter logicalBlockSize is "1024", allowed is "512" or "4096"'],
  [{ queues: "0" }, 'parameter queues is "0", allowed is an integer from 1 to 64'],
  [{ queues: "65" }, 'parameter queues is "65", allowed is an integer from 1 to 64'],
  [{ queueDepth: "1e3" }, 'parameter queueDepth is "1e3", allowed is an integer from 1 to 4096'],
  [{ queueDepth: "-1" }, 'parameter queueDepth is "-1", allowed is an integer from 1 to 4096'],
  [{ pool: "" }, 'parameter pool is "", allowed is the name of a pool, 1 to 63 lower-case'],
  [{ pool: "Gold/.." }, 'parameter pool is "Gold/..", allowed is the name of a pool, 1 to 63 lower-case'],
  [{ Pool: "fast" }, /^parameter "Pool" is unknown, known are pool, provisioning, .*, queueDepth, .*, ext4BlockSize, /],
  [{ ext4BlockSize: "512" }, 'parameter ext4BlockSize is "512", allowed is "1024", "2048", "4096"'],
  [{ ext4BytesPerInode: "1023" }, 'parameter ext4BytesPerInode is "1023", allowed is an integer from 1024 to 67108864'],
  [{ ext4ReservedPercent: "51" }, 'parameter ext4ReservedPercent is "51", allowed is an integer from 0 to 50'],
  [{ xfsReflink: "yes" }, 'parameter xfsReflink is "yes", allowed is "true" or "false"'],
  [{ btrfsMetadata: "raid1" }, 'parameter btrfsMetadata is "raid1", allowed is "single", "dup"'],
  [
    { trimInterval: "24" },
    'parameter trimInterval is "24", allowed is a time such as "30m", "24h" or "7d", from 1m to 365d',
  ],
  [{ trimInterval: "366d" }, /^parameter trimInterval is "366d"/],
  [{ trimInterval: "24h" }, /^parameter trimInterval gives unused space back .* use provisioning "thin"$/],
  [{ trimAtUnstage: "true" }, /^parameter trimAtUnstage gives unused space back/],
])("%j is refused with parameter, value and what is allowed", (parameters, message) => {
  expect(() => parseVolumeParameters(parameters as unknown as Record<string, string>)).toThrow(
    expect.objectContaining({ code: "invalid", message: expect.stringMatching(message) }),
  );
});
