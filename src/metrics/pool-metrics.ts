import { Gauge, type Registry } from "prom-client";
import type { PoolState, PoolWatch } from "../pools/pool/pool-watch.js";
import type { Pools } from "../pools/pool/pools.js";

/** What a scrape reads of pools: all of it is in memory. */
export interface PoolSources {
  pools: Pick<Pools, "names" | "listVolumes" | "listEphemeral">;
  poolWatch: PoolWatch & { isReadable(pool: string): boolean };
  /** Pools that have refused a block lately. */
  listFullPools: () => ReadonlySet<string | undefined>;
}

const states = ["normal", "warning", "critical", "full"] as const;

/** How much of each pool is used and promised, how it does, and how many volumes it has. */
export function addPoolMetrics(registry: Registry, sources: PoolSources): void {
  const addBytes = (name: string, help: string, read: (state: PoolState) => bigint) =>
    addPoolGauge(registry, sources, { name: `${name}_bytes`, help, read: (state) => Number(read(state)) });
  addBytes("size", "Size of the pool.", ({ sizeBytes }) => sizeBytes);
  addBytes("free", "What is free on the pool's file system.", ({ freeBytes }) => freeBytes);
  const allocated = "What is in use on the pool's file system, by volumes or anything else.";
  addBytes("allocated", allocated, ({ sizeBytes, freeBytes }) => sizeBytes - freeBytes);
  addBytes("booked", "What the ledger has booked for volumes and snapshots.", ({ bookedBytes }) => bookedBytes);
  addBytes("demand", "What images may yet take of the free bytes.", ({ demandBytes }) => demandBytes);
  addReadable(registry, sources);
  addState(registry, sources);
  addVolumes(registry, sources);
}

interface PoolGauge {
  name: string;
  help: string;
  read: (state: PoolState) => number;
}

/** A pool that cannot be read has no value rather than an old one. */
function addPoolGauge(registry: Registry, { poolWatch }: PoolSources, { name, help, read }: PoolGauge): void {
  new Gauge({
    name: `ublk_csi_pool_${name}`,
    help,
    labelNames: ["pool"],
    registers: [registry],
    collect() {
      this.reset();
      for (const state of listReadable(poolWatch)) this.set({ pool: state.pool }, read(state));
    },
  });
}

function addReadable(registry: Registry, { pools, poolWatch }: PoolSources): void {
  new Gauge({
    name: "ublk_csi_pool_readable",
    help: "1 when the pool could be read at the last look, 0 when it is gone or broken.",
    labelNames: ["pool"],
    registers: [registry],
    collect() {
      for (const pool of pools.names) this.set({ pool }, poolWatch.isReadable(pool) ? 1 : 0);
    },
  });
}

function addState(registry: Registry, { poolWatch, listFullPools }: PoolSources): void {
  new Gauge({
    name: "ublk_csi_pool_state",
    help: "1 for the state that the pool is in: normal, at a watermark, or full, as when it has refused a block.",
    labelNames: ["pool", "state"],
    registers: [registry],
    collect() {
      this.reset();
      const full = listFullPools();
      for (const { pool, level } of listReadable(poolWatch)) {
        const current = full.has(pool) ? "full" : level;
        for (const state of states) this.set({ pool, state }, state === current ? 1 : 0);
      }
    },
  });
}

function addVolumes(registry: Registry, { pools }: PoolSources): void {
  new Gauge({
    name: "ublk_csi_volumes",
    help: "Usable volumes of the pool, persistent or inline.",
    labelNames: ["pool", "kind"],
    registers: [registry],
    collect() {
      this.reset();
      for (const pool of pools.names) for (const kind of ["persistent", "inline"]) this.set({ pool, kind }, 0);
      for (const { pool } of pools.listVolumes()) this.inc({ pool, kind: "persistent" });
      for (const { pool } of pools.listEphemeral()) this.inc({ pool, kind: "inline" });
    },
  });
}

const listReadable = (watch: PoolSources["poolWatch"]) =>
  watch.readStates().filter(({ pool }) => watch.isReadable(pool));
