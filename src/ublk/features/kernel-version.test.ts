import { expect, test } from "@jest/globals";
import { compareVersions, type KernelIdentity, parseKernel } from "./kernel-version.js";

const releases: [string, string, Partial<KernelIdentity>][] = [
  ["6.17.0-24-generic", "", { lineage: "ubuntu", numbers: [6, 17, 0], build: 24, variant: "generic" }],
  ["6.17.0-1019-aws", "", { lineage: "ubuntu", numbers: [6, 17, 0], build: 1019, variant: "aws" }],
  ["6.8.0-1021-azure-fde", "", { lineage: "ubuntu", build: 1021, variant: "azure-fde" }],
  ["6.17.0-1005-oem", "", { lineage: "ubuntu", build: 1005, variant: "oem" }],
  ["6.18.4-061804-generic", "", { lineage: "stable", numbers: [6, 18, 4], build: undefined }],
  ["7.0.0-070000rc3-generic", "", { lineage: "stable", numbers: [7, 0, 0], candidate: 3 }],
  ["6.12.107+deb12-amd64", "", { lineage: "stable", numbers: [6, 12, 107] }],
  ["6.1.0-35-amd64", "#1 SMP Debian 6.1.137-1 (2025-05-07)", { lineage: "stable", numbers: [6, 1, 137] }],
  ["6.1.0-35-cloud-amd64", "#1 SMP Debian 6.1.137-1 (2025-05-07)", { lineage: "stable", numbers: [6, 1, 137] }],
  ["7.3~rc5-amd64", "", { lineage: "stable", numbers: [7, 3, 0], candidate: 5 }],
  ["6.18.4", "", { lineage: "stable", numbers: [6, 18, 4], candidate: undefined }],
  ["7.3.0-rc2", "", { lineage: "stable", numbers: [7, 3, 0], candidate: 2 }],
  ["6.17.4-200.fc42.x86_64", "", { lineage: "stable", numbers: [6, 17, 4] }],
  ["6.12.0-55.9.1.el10_0.x86_64", "", { lineage: "backports", numbers: [6, 12, 0] }],
  ["6.12.0-1.23.3.2.el9uek.x86_64", "", { lineage: "backports", numbers: [6, 12, 0] }],
  ["6.12.40-63.114.amzn2023.x86_64", "", { lineage: "backports", numbers: [6, 12, 40] }],
  ["6.4.0-150600.23.60-default", "", { lineage: "backports", numbers: [6, 4, 0] }],
  ["6.6.87.2-microsoft-standard-WSL2", "", { lineage: "backports", numbers: [6, 6, 87] }],
];

test.each(releases)("%s %s", (release, version, expected) => {
  expect(parseKernel(release, version)).toMatchObject(expected);
});

test("what has no version has no identity", () => {
  expect(parseKernel("linux", "")).toBeUndefined();
});

test("versions are ordered by number, candidates before their release", () => {
  const ascending = ["6.9.0", "6.12.0", "6.12.9", "6.12.10", "7.0.0-rc1", "7.0.0-rc10", "7.0.0", "7.0.1"];
  const shuffled = [...ascending].reverse().map((release) => ({ release, kernel: parseKernel(release, "") }));
  shuffled.sort((a, b) => compareVersions(a.kernel as KernelIdentity, b.kernel as KernelIdentity));
  expect(shuffled.map(({ release }) => release)).toEqual(ascending);
});
