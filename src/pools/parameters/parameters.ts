import * as z from "zod";
import { DriverError } from "../../errors.js";
import { fromByteSize } from "../../system/byte-size.js";
import { limitNames, parseLimits } from "../volume/limits.js";
import { encryptionTypes, type FsType, fsTypes, type VolumeParameters } from "../volume/volume.js";
import { formatParameterNames, parseFormatParameters } from "./format-parameters.js";
import { isPoolName, poolNameForm } from "./pool-name.js";

/** Keys that Kubernetes' own sidecars add for information, for example the names of PVC and PV. */
const informationPrefix = "csi.storage.k8s.io/";

const integerText = (smallest: number, largest: number) =>
  z
    .string()
    .regex(/^[1-9][0-9]{0,5}$/)
    .transform(Number)
    .refine((value) => value >= smallest && value <= largest)
    .optional();

const minutesPer: Readonly<Record<string, number>> = { m: 1, h: 60, d: 24 * 60 };

const intervalText = z
  .string()
  .regex(/^[1-9][0-9]{0,5}[mhd]$/)
  .transform((text) => Number(text.slice(0, -1)) * (minutesPer[text.slice(-1)] ?? 0))
  .refine((minutes) => minutes <= 365 * 24 * 60)
  .optional();

const switchText = z
  .enum(["true", "false"])
  .transform((text) => text === "true")
  .optional();

const mebibyte = 1024n ** 2n;

const memoryText = z
  .string()
  .transform((text) => fromByteSize(text) ?? 0n)
  .refine((bytes) => bytes % mebibyte === 0n && bytes >= 32n * mebibyte && bytes <= 1024n * mebibyte)
  .transform(Number)
  .optional();

/** Every parameter of a StorageClass: its form, and the words for a value which does not have it. */
const parameterTable = {
  pool: { schema: z.string().refine(isPoolName).optional(), allowed: `the name of a pool, ${poolNameForm}` },
  provisioning: { schema: z.enum(["thick", "thin"]).default("thick"), allowed: '"thick" or "thin"' },
  logicalBlockSize: {
    schema: z
      .enum(["512", "4096"])
      .default("512")
      .transform((text) => (text === "512" ? 512 : 4096)),
    allowed: '"512" or "4096"',
  },
  queues: { schema: integerText(1, 64), allowed: "an integer from 1 to 64" },
  queueDepth: { schema: integerText(1, 4096), allowed: "an integer from 1 to 4096" },
  trimInterval: { schema: intervalText, allowed: 'a time such as "30m", "24h" or "7d", from 1m to 365d' },
  encryption: { schema: z.enum(encryptionTypes).optional(), allowed: '"luks2"' },
  encryptionDiscard: { schema: switchText, allowed: '"true" or "false"' },
  encryptionMemory: { schema: memoryText, allowed: "a size from 32Mi to 1Gi, in whole Mi" },
  trimAtUnstage: { schema: switchText, allowed: '"true" or "false"' },
} as const;

/** All that a StorageClass may choose, but what Kubernetes itself adds. */
export const parameterNames: readonly string[] = [
  ...Object.keys(parameterTable),
  ...formatParameterNames,
  ...limitNames,
];

/** Turns the parameters of a StorageClass into a choice, or says which one is wrong and what would be right. */
export function parseVolumeParameters(parameters: Readonly<Record<string, string>>): VolumeParameters {
  const chosen = Object.entries(parameters).filter(([name]) => !name.startsWith(informationPrefix));
  for (const [name] of chosen) assertKnown(name);
  const given = Object.fromEntries(chosen);
  return assertTrimmable({
    pool: parseParameter("pool", given),
    provisioning: parseParameter("provisioning", given),
    logicalBlockSizeBytes: parseParameter("logicalBlockSize", given),
    queueCount: parseParameter("queues", given),
    queueDepth: parseParameter("queueDepth", given),
    format: parseFormatParameters(given),
    limits: parseLimits(given),
    trimIntervalMinutes: parseParameter("trimInterval", given),
    trimAtUnstage: parseParameter("trimAtUnstage", given),
    ...parseEncryption(given),
  });
}

type EncryptionParameters = Pick<VolumeParameters, "encryption" | "encryptionDiscard" | "encryptionMemoryBytes">;

// Left out where nothing is encrypted, so that a misspelt or forgotten parameter is not taken for one that has an effect.
function parseEncryption(given: Record<string, string>): EncryptionParameters {
  const encryption = parseParameter("encryption", given);
  const encryptionDiscard = parseParameter("encryptionDiscard", given);
  const encryptionMemoryBytes = parseParameter("encryptionMemory", given);
  if (encryption !== undefined) return { encryption, encryptionDiscard, encryptionMemoryBytes };
  const lone = ["encryptionDiscard", "encryptionMemory"].find((name) => given[name] !== undefined);
  if (lone === undefined) return {};
  throw new DriverError(
    "invalid",
    `parameter ${lone} is for encrypted volumes: add encryption "luks2", or leave it out`,
  );
}

/** Refuses parameters of a snapshot class: it has none to choose from. */
export function assertKnownSnapshotParameters(parameters: Readonly<Record<string, string>>): void {
  const unknown = Object.keys(parameters).find((name) => !name.startsWith(informationPrefix));
  if (unknown === undefined) return;
  throw new DriverError("invalid", `parameter "${unknown}" is unknown: a snapshot class has no parameters`);
}

/** The file system type that a StorageClass names, for capabilities that leave it open. */
export function parseFsTypeParameter(parameters: Readonly<Record<string, string>>): FsType | undefined {
  const name = `${informationPrefix}fstype`;
  const value = parameters[name];
  const known = fsTypes.find((fsType) => fsType === value);
  if (known !== undefined || value === undefined) return known;
  throw new DriverError("invalid", `parameter ${name} is "${value}", allowed is one of: ${fsTypes.join(", ")}`);
}

type ParameterName = keyof typeof parameterTable;
type ParameterValue<Name extends ParameterName> = z.output<(typeof parameterTable)[Name]["schema"]>;

function parseParameter<Name extends ParameterName>(name: Name, given: Record<string, string>): ParameterValue<Name> {
  const { schema, allowed } = parameterTable[name];
  const parsed = schema.safeParse(given[name]);
  if (parsed.success) return parsed.data as ParameterValue<Name>;
  throw new DriverError("invalid", `parameter ${name} is "${given[name]}", allowed is ${allowed}`);
}

// Thick volumes keep their space whatever is discarded, so their devices do not offer it.
function assertTrimmable(parameters: VolumeParameters): VolumeParameters {
  const { provisioning, trimIntervalMinutes, trimAtUnstage = false } = parameters;
  if (trimIntervalMinutes === undefined && !trimAtUnstage) return parameters;
  const name = trimAtUnstage ? "trimAtUnstage" : "trimInterval";
  if (parameters.encryption !== undefined && parameters.encryptionDiscard !== true) {
    const message = `parameter ${name} discards unused space, which encryption keeps from the image`;
    throw new DriverError("invalid", `${message}: leave it out, or add encryptionDiscard "true"`);
  }
  if (provisioning === "thin") return parameters;
  const message = `parameter ${name} gives unused space back to the pool, which a thick volume never does`;
  throw new DriverError("invalid", `${message}: leave it out, or use provisioning "thin"`);
}

function assertKnown(name: string): void {
  if (parameterNames.includes(name)) return;
  throw new DriverError("invalid", `parameter "${name}" is unknown, known are ${parameterNames.join(", ")}`);
}
