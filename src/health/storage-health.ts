import { BlockDeviceError, type BlockDevices } from "../engine/block-devices.js";
import { toMessage } from "../errors.js";
import type { Pool } from "../pools/pool/pool.js";
import { findPoolFault } from "../pools/pool/pool-presence.js";
import type { PoolState, PoolWatch } from "../pools/pool/pool-watch.js";
import type { Pools } from "../pools/pool/pools.js";
import { within } from "../system/within.js";
import type { StorageFinding } from "./finding.js";
import type { IoErrorHistory } from "./io-error-history.js";

export interface StorageHealthParts {
  pools: Pools;
  blockDevices: Pick<BlockDevices, "capabilities">;
  ioErrors: IoErrorHistory;
  /** How long an engine may take to answer. Default: five seconds, less than any caller waits. */
  engineAnswerMsMax?: number;
  /** Default: nothing is known of the fill of pools but what requests fail with. */
  poolWatch?: PoolWatch | undefined;
}

/**
 * What is wrong with the engine and with pools, in the order of their configuration. Of a pool only the worst is told: of
 * one that is not there nothing else is known, and one that is full is no longer nearly full.
 */
export async function checkStorage(parts: StorageHealthParts): Promise<StorageFinding[]> {
  const { pools, blockDevices } = parts;
  const full = listFullPools(parts);
  const states = parts.poolWatch?.readStates() ?? [];
  const found = await Promise.all([
    checkEngine(askEngine(parts, blockDevices.capabilities())),
    ...pools.all.map((pool) => {
      const state = states.find((one) => one.pool === pool.name);
      return checkPool(pool, { isFull: full.has(pool.name), state });
    }),
  ]);
  return found.filter((finding) => finding !== undefined);
}

/**
 * What an engine answers, or `unavailable`. One that hangs would hold up the answer that it does until nobody waits for it any
 * more, as other calls wait: those have something to gain by patience.
 */
export async function askEngine<T>({ engineAnswerMsMax = 5_000 }: StorageHealthParts, answer: Promise<T>): Promise<T> {
  return await within(engineAnswerMsMax, answer, () => {
    const message = `the engine has not answered for ${engineAnswerMsMax} ms: look whether it is running, or hangs`;
    return new BlockDeviceError("unavailable", message);
  });
}

async function checkEngine(answer: Promise<unknown>): Promise<StorageFinding | undefined> {
  return await answer.then(
    () => undefined,
    (error: unknown) => ({ status: "unreachable", reason: "EngineUnavailable", message: toMessage(error) }),
  );
}

async function checkPool(
  pool: Pool,
  { isFull, state }: { isFull: boolean; state: PoolState | undefined },
): Promise<StorageFinding | undefined> {
  const fault = await findPoolFault(pool);
  if (fault !== undefined) return { status: "unreachable", reason: "PoolUnavailable", message: fault };
  if (isFull) {
    const message = `pool ${pool.name} is full: writes of thin volumes fail, so free some of it or give it more`;
    return { status: "degraded", reason: "PoolOutOfSpace", message };
  }
  return state?.level === "critical" ? toNearlyFull(state) : undefined;
}

function toNearlyFull({ pool, usedPercent, freeBytes, demandBytes }: PoolState): StorageFinding {
  const room = `is ${usedPercent} % full: its volumes may yet take ${demandBytes} bytes, and ${freeBytes} are free`;
  const message = `pool ${pool} ${room}: free some of it or give it more, before writes fail`;
  return { status: "degraded", reason: "PoolNearlyFull", message };
}

/** Pools of volumes, inline ones included, that were refused a block lately. A look into memory. */
export function listFullPools({
  pools,
  ioErrors,
}: Pick<StorageHealthParts, "pools" | "ioErrors">): Set<string | undefined> {
  const refused = ioErrors.volumeIds().filter((id) => ioErrors.findings(id).some(isOutOfSpace));
  return new Set(refused.map((id) => pools.peekVolume(id)?.pool));
}

const isOutOfSpace = ({ reason }: { reason: string }): boolean => reason === "PoolOutOfSpace";
