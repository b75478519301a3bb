import { Registry } from "prom-client";
import type { Logger } from "../log.js";
import type { TrimTotals } from "../node/volume-trimmer.js";
import type { ObserveCall } from "../rpc/observation.js";
import { addBuildMetrics } from "./build-metrics.js";
import { type MetricsEndpoint, MetricsServer } from "./metrics-server.js";
import { addPoolMetrics, type PoolSources } from "./pool-metrics.js";
import { addRpcMetrics } from "./rpc-metrics.js";
import { addTrimMetrics } from "./trim-metrics.js";

/** What is served, and what has to be told to it. */
export interface Metrics {
  observeCall: ObserveCall;
  trimTotals: TrimTotals;
  /** The series of pools are there from then on. */
  addPools(sources: PoolSources): void;
  readonly url: string;
  stop(): Promise<void>;
}

export interface MetricsOptions {
  endpoint: MetricsEndpoint;
  version: string;
  logger: Logger;
}

/** Serves metrics until it is stopped; fails when its address cannot be had. */
export async function startMetrics({ endpoint, version, logger }: MetricsOptions): Promise<Metrics> {
  const registry = new Registry();
  const trimTotals: TrimTotals = { runCount: 0, failureCount: 0, trimmedBytes: 0n, reclaimedBytes: 0n };
  addBuildMetrics(registry, version);
  addTrimMetrics(registry, trimTotals);
  const observeCall = addRpcMetrics(registry);
  const server = new MetricsServer(endpoint, registry, logger.child({ component: "metrics" }));
  await server.start();
  return {
    observeCall,
    trimTotals,
    addPools: (sources) => addPoolMetrics(registry, sources),
    url: server.url,
    stop: () => server.stop(),
  };
}
