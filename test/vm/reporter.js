/**
 * Prints each case as it ends. In a slow guest that is the only way to see where a run is, and after a hang, where it
 * stopped.
 */
// biome-ignore lint/style/noDefaultExport: jest takes the default export of a reporter
export default class CaseReporter {
  onTestFileStart(test) {
    process.stdout.write(`${test.path.split("/").at(-1)}\n`);
  }

  onTestCaseResult(_test, { status, fullName, duration }) {
    process.stdout.write(`  ${status.padEnd(7)} ${String(duration ?? 0).padStart(7)} ms  ${fullName}\n`);
  }
}
