import type { Ublk } from "../ublk/ublk.js";
import type { EngineLogger } from "./logger.js";

/**
 * Logs what the kernel can do and, once per start, what is known against it. Rejects where no device could be made,
 * saying what is missing.
 */
export async function reportKernel(ublk: Pick<Ublk, "checkKernel">, logger: EngineLogger): Promise<void> {
  const { kernelRelease, features, findings } = await ublk.checkKernel();
  const notes = findings.filter(({ severity }) => severity === "note").map(({ id }) => id);
  logger.info({ kernelRelease, features: features.map(({ name }) => name), notes }, "kernel serves ublk devices");
  for (const { id, severity, trouble, cure } of findings) {
    if (severity === "note") continue;
    logger.warn({ kernelRelease, finding: id }, `this kernel ${trouble}: ${cure}`);
  }
}
