import { Gauge, type Registry } from "prom-client";

/** Which driver this is. */
export function addBuildMetrics(registry: Registry, version: string): void {
  const gauge = new Gauge({
    name: "ublk_csi_build_info",
    help: "1, with the version of the driver and of Node.js as labels.",
    labelNames: ["version", "node_version"],
    registers: [registry],
  });
  gauge.set({ version, node_version: process.version }, 1);
}
