import { z } from "zod";
import { DriverError } from "../errors.js";
import { formatParameterNames, parseFormatParameters } from "./format-parameters.js";
import { limitNames, parseLimits } from "./limits.js";
import { type FsType, fsTypes, type VolumeParameters } from "./volume.js";

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

/** Every parameter of a StorageClass: its form, and the words for a value which does not have it. */
const parameterTable = {
  pool: { schema: z.string().min(1).optional(), allowed: "the name of a pool of the node" },
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
  trimAtUnstage: {
    schema: z
      .enum(["true", "false"])
      .transform((text) => text === "true")
      .optional(),
    allowed: '"true" or "false"',
  },
} as const;

const knownNames = [...Object.keys(parameterTable), ...formatParameterNames, ...limitNames];

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
  });
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
  if (provisioning === "thin" || (trimIntervalMinutes === undefined && !trimAtUnstage)) return parameters;
  const name = trimAtUnstage ? "trimAtUnstage" : "trimInterval";
  const message = `parameter ${name} gives unused space back to the pool, which a thick volume never does`;
  throw new DriverError("invalid", `${message}: leave it out, or use provisioning "thin"`);
}

function assertKnown(name: string): void {
  if (knownNames.includes(name)) return;
  throw new DriverError("invalid", `parameter "${name}" is unknown, known are ${knownNames.join(", ")}`);
}
