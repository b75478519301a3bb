import { describe, expect, test } from "@jest/globals";
import { findBrokenFeatures, findKnownTrouble } from "./kernel-findings.js";
import { knownKernels } from "./known-kernels.js";

/** Of real machines: `uname -r`, `uname -v`, and what a start would refuse or warn of. */
const machines: [string, string, string[]][] = [
  ["6.17.0-23-generic", "#23-Ubuntu SMP PREEMPT_DYNAMIC", []],
  ["6.17.0-24-generic", "#24~24.04.1-Ubuntu SMP PREEMPT_DYNAMIC", ["refuse add-dev-null-pointer"]],
  ["6.17.0-40-lowlatency", "#40-Ubuntu SMP PREEMPT_DYNAMIC", ["refuse add-dev-null-pointer"]],
  ["6.17.0-41-generic", "#41-Ubuntu SMP PREEMPT_DYNAMIC", []],
  ["6.17.0-1018-aws", "#18~24.04.1-Ubuntu SMP", []],
  ["6.17.0-1019-aws", "#19~24.04.1-Ubuntu SMP", ["refuse add-dev-null-pointer"]],
  ["6.17.0-1013-azure", "#13-Ubuntu SMP", []],
  ["6.17.0-1014-azure", "#14~24.04.1-Ubuntu SMP", ["refuse add-dev-null-pointer"]],
  ["6.17.0-1020-azure", "#20-Ubuntu SMP", ["refuse add-dev-null-pointer"]],
  ["6.17.0-1021-azure", "#21-Ubuntu SMP", []],
  ["6.17.0-1014-gcp", "#14-Ubuntu SMP", []],
  ["6.18.3", "#1 SMP PREEMPT_DYNAMIC", []],
  ["6.18.4", "#1 SMP PREEMPT_DYNAMIC", ["refuse add-dev-null-pointer"]],
  ["6.18.4-arch1-1", "#1 SMP PREEMPT_DYNAMIC", ["refuse add-dev-null-pointer"]],
  ["6.18.5-200.fc43.x86_64", "#1 SMP PREEMPT_DYNAMIC", ["refuse add-dev-null-pointer"]],
  ["6.18.5-1-default", "#1 SMP PREEMPT_DYNAMIC", ["refuse add-dev-null-pointer"]],
  ["6.18.5+deb13-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.18.5-1~bpo13+1", ["refuse add-dev-null-pointer"]],
  ["6.18.4-061804-generic", "#202601081234 SMP PREEMPT_DYNAMIC", ["refuse add-dev-null-pointer"]],
  ["6.18.15+deb13-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.18.15-1~bpo13+1", []],
  ["6.18.40", "#1 SMP PREEMPT_DYNAMIC", ["warn lost-control-command"]],
  ["6.18.44-fc-v595", "#1 SMP PREEMPT_DYNAMIC @0", []],
  ["7.0.0-28-generic", "#28-Ubuntu SMP PREEMPT_DYNAMIC", ["warn lost-control-command"]],
  ["7.0.0-27-generic", "#27-Ubuntu SMP PREEMPT_DYNAMIC", []],
  ["7.0.0", "#1 SMP PREEMPT_DYNAMIC", ["warn lost-control-command"]],
  ["7.0.14-1-default", "#1 SMP PREEMPT_DYNAMIC", ["warn lost-control-command"]],
  ["7.0.0-rc3", "#1 SMP PREEMPT_DYNAMIC", []],
  ["6.8.0-45-generic", "#45-Ubuntu SMP PREEMPT_DYNAMIC", ["warn panic-on-close"]],
  ["6.8.0-1021-aws", "#23~22.04.1-Ubuntu SMP", ["warn panic-on-close"]],
  ["6.8.0", "#1 SMP PREEMPT_DYNAMIC", []],
  ["6.12.107+deb12-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.12.107-1~bpo12+1 (2026-10-01)", []],
  ["6.12.107+deb12-cloud-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.12.107-1~bpo12+1 (2026-10-01)", []],
  ["6.12.0-55.9.1.el10_0.x86_64", "#1 SMP PREEMPT_DYNAMIC", []],
  ["6.12.0-1.23.3.2.el9uek.x86_64", "#2 SMP PREEMPT_DYNAMIC", []],
  ["7.3.4", "#1 SMP PREEMPT_DYNAMIC", []],
  ["7.3.4+deb13-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 7.3.4-1~bpo13+1", []],
  ["something else", "", []],
];

test.each(machines)("%s %s: %j", (release, version, expected) => {
  const loud = findKnownTrouble(release, version).filter(({ severity }) => severity !== "note");
  expect(loud.map(({ severity, id }) => `${severity} ${id}`)).toEqual(expected);
});

/** Notes by release, each with a neighbour that has none of it. */
const notes: [string, string, boolean][] = [
  ["recovery-fixes-missing", "6.12.117+deb12-amd64", true],
  ["recovery-fixes-missing", "7.1.0", false],
  ["late-request-lost", "6.12.117+deb12-amd64", true],
  ["late-request-lost", "6.15.0", false],
  ["resize-before-start", "6.15.9", false],
  ["resize-before-start", "6.16.0", true],
  ["resize-before-start", "7.0.0-rc3", true],
  ["resize-before-start", "7.0.0-rc4", false],
  ["process-id-namespace", "6.18.7", true],
  ["process-id-namespace", "6.18.8", false],
  ["cut-write-zeroes", "6.8.0-45-generic", true],
  ["cut-write-zeroes", "6.11.0-8-generic", false],
  ["provided-buffers", "6.8.0-138-generic", true],
  ["provided-buffers", "6.8.0-139-generic", false],
  ["provided-buffers", "6.8.0-146-generic", true],
  ["zero-copy-false-report", "7.2.3-200.fc44.x86_64", true],
  ["zero-copy-false-report", "7.3.0", false],
  ["batch-quiesce", "7.0.0-12-generic", true],
  ["batch-quiesce", "7.2.7", false],
  ["batch-quiesce", "7.3.0-rc2", true],
  ["batch-quiesce", "7.3~rc2-amd64", true],
  ["batch-quiesce", "7.3.0-rc3", false],
  ["batch-quiesce", "6.18.15", false],
];

test.each(notes)("the note %s on %s: %p", (id, release, expected) => {
  expect(findKnownTrouble(release, "").some((finding) => finding.id === id)).toBe(expected);
});

describe("the list", () => {
  test("has an id of its own for every entry", () => {
    expect(new Set(knownKernels.map(({ id }) => id)).size).toBe(knownKernels.length);
  });

  test("gives the worst first, and the features to leave alone", () => {
    expect(findKnownTrouble("7.0.14", "").map(({ severity }) => severity)).toEqual([
      "warn",
      ...["note", "note", "note", "note"],
    ]);
    expect([...findBrokenFeatures(findKnownTrouble("7.0.14", "")).keys()]).toEqual(["BATCH_IO"]);
    expect([...findBrokenFeatures(findKnownTrouble("7.3.4", "")).keys()]).toEqual(["BATCH_IO"]);
    expect(findBrokenFeatures(findKnownTrouble("6.18.9", "")).size).toBe(0);
  });
});
