import { DriverError } from "../../errors.js";
import { byteSizeForm, fromByteSize } from "../../system/byte-size.js";
import { limitNames, parseLimitsWithin, type VolumeLimits } from "../volume/limits.js";
import type { Provisioning } from "../volume/volume.js";
import type { EphemeralRules } from "./ephemeral-rules.js";

/** Where Kubernetes puts what it says itself; the rest of a volume context is the pod author's. */
const kubernetesPrefix = "csi.storage.k8s.io/";
const attributeNames = ["size", "pool", "provisioning", ...limitNames];
const provisionings: readonly Provisioning[] = ["thick", "thin"];

/** What an inline volume is made with. */
export interface EphemeralWish {
  sizeBytes: bigint;
  pool: string;
  provisioning: Provisioning;
  limits: VolumeLimits | undefined;
}

/** The pod that a publication is for, as kubelet names it. */
export interface PodIdentity {
  podUid: string;
  podName: string;
  podNamespace: string;
}

/** Whether kubelet asks for a volume that lives as long as its pod. */
export function isEphemeral(volumeContext: Readonly<Record<string, string>>): boolean {
  return volumeContext[`${kubernetesPrefix}ephemeral`] === "true";
}

/** What kubelet says with podInfoOnMount; it overwrites what an author may have written under the same keys. */
export function readPodIdentity(volumeContext: Readonly<Record<string, string>>): PodIdentity {
  const podUid = volumeContext[`${kubernetesPrefix}pod.uid`] ?? "";
  if (podUid === "") throw invalid("volume_context has no pod: inline volumes need podInfoOnMount in the CSIDriver");
  const podName = volumeContext[`${kubernetesPrefix}pod.name`] ?? "";
  return { podUid, podName, podNamespace: volumeContext[`${kubernetesPrefix}pod.namespace`] ?? "" };
}

/** What the author wrote, each of a known name. */
export function pickAttributes(volumeContext: Readonly<Record<string, string>>): Record<string, string> {
  const own = Object.entries(volumeContext).filter(([name]) => !name.startsWith(kubernetesPrefix));
  for (const [name] of own) {
    if (attributeNames.includes(name)) continue;
    throw invalid(`volume attribute "${name}" is unknown, known are ${attributeNames.join(", ")}`);
  }
  return Object.fromEntries(own);
}

/** Turns attributes into a choice within what the administrator allows. `defaultPool` is the node's first one. */
export function readWish(
  attributes: Readonly<Record<string, string>>,
  rules: EphemeralRules,
  defaultPool: string,
): EphemeralWish {
  return {
    sizeBytes: readSize(attributes.size, rules),
    pool: readPool(attributes.pool, rules.poolNames ?? [defaultPool]),
    provisioning: readProvisioning(attributes.provisioning),
    limits: parseLimitsWithin(pickLimits(attributes), rules.limitsMax ?? {}),
  };
}

function pickLimits(attributes: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(attributes).filter(([name]) => limitNames.includes(name)));
}

function readSize(text: string | undefined, { sizeBytesDefault, sizeBytesMax }: EphemeralRules): bigint {
  if (text === undefined) return sizeBytesDefault;
  const sizeBytes = fromByteSize(text);
  if (sizeBytes === undefined || sizeBytes === 0n) {
    throw invalid(`volume attribute size is "${text}", allowed is ${byteSizeForm}`);
  }
  if (sizeBytes <= sizeBytesMax) return sizeBytes;
  throw invalid(`volume attribute size is "${text}", an inline volume may have at most ${sizeBytesMax} bytes here`);
}

// Pools that authors may not use are not named to them.
function readPool(name: string | undefined, allowed: readonly string[]): string {
  const pool = name === undefined ? allowed[0] : allowed.find((candidate) => candidate === name);
  if (pool !== undefined) return pool;
  const choice =
    allowed.length === 0 ? "no pool takes inline volumes here" : `allowed is one of: ${allowed.join(", ")}`;
  throw invalid(name === undefined ? choice : `volume attribute pool is "${name}", ${choice}`);
}

function readProvisioning(text: string | undefined): Provisioning {
  const provisioning = text === undefined ? "thick" : provisionings.find((known) => known === text);
  if (provisioning !== undefined) return provisioning;
  throw invalid(`volume attribute provisioning is "${text}", allowed is "thick" or "thin"`);
}

const invalid = (message: string): DriverError => new DriverError("invalid", message);
