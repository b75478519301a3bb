import { z } from "zod";
import { DriverError } from "../errors.js";
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
} as const;

const knownNames = Object.keys(parameterTable);

/** Turns the parameters of a StorageClass into a choice, or says which one is wrong and what would be right. */
export function parseVolumeParameters(parameters: Readonly<Record<string, string>>): VolumeParameters {
  const chosen = Object.entries(parameters).filter(([name]) => !name.startsWith(informationPrefix));
  for (const [name] of chosen) assertKnown(name);
  const given = Object.fromEntries(chosen);
  return {
    pool: parseParameter("pool", given),
    provisioning: parseParameter("provisioning", given),
    logicalBlockSizeBytes: parseParameter("logicalBlockSize", given),
    queueCount: parseParameter("queues", given),
    queueDepth: parseParameter("queueDepth", given),
  };
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

function assertKnown(name: string): void {
  if (knownNames.includes(name)) return;
  throw new DriverError("invalid", `parameter "${name}" is unknown, known are ${knownNames.join(", ")}`);
}
