import { Histogram, type Registry } from "prom-client";
import type { ObserveCall } from "../rpc/observation.js";

/** From a look at a record up to a copy or a check of a file system. */
const bucketsSeconds = [0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 30, 120];

/** How long calls take, by method and code. Returns what is told of each call. */
export function addRpcMetrics(registry: Registry): ObserveCall {
  const histogram = new Histogram({
    name: "ublk_csi_rpc_duration_seconds",
    help: "How long calls of the CSI services took, by method and gRPC code.",
    labelNames: ["method", "code"],
    buckets: bucketsSeconds,
    registers: [registry],
  });
  return ({ method, code, durationMs }) => histogram.observe({ method, code }, durationMs / 1_000);
}
