import { Counter, type Registry } from "prom-client";
import type { TrimTotals } from "../node/volume-trimmer.js";

/** What fstrim has brought. The totals are read when somebody scrapes. */
export function addTrimMetrics(registry: Registry, totals: Readonly<TrimTotals>): void {
  const add = (name: string, help: string, read: () => number) =>
    new Counter({
      name: `ublk_csi_trim_${name}_total`,
      help,
      registers: [registry],
      collect() {
        this.reset();
        this.inc(read());
      },
    });
  add("runs", "Trims of mounted volumes that were done.", () => totals.runCount);
  add("failures", "Trims of mounted volumes that failed.", () => totals.failureCount);
  add("trimmed_bytes", "What file systems said was unused.", () => Number(totals.trimmedBytes));
  add("reclaimed_bytes", "What images have become smaller by.", () => Number(totals.reclaimedBytes));
}
