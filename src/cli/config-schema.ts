import * as z from "zod";
import type { BlockDeviceLimits } from "../engine/block-devices.js";
import { toMessage } from "../errors.js";
import type { PoolSettings, Reserve } from "../pools/capacity/pool-settings.js";
import { defaultEphemeralRules, type EphemeralRules } from "../pools/parameters/ephemeral-rules.js";
import { isPoolName, poolNameForm } from "../pools/parameters/pool-name.js";
import type { PoolRequest } from "../pools/pool/open-pools.js";
import { limitNames, parseMaxima } from "../pools/volume/limits.js";
import { byteSizeForm, fromByteSize } from "../system/byte-size.js";

const budgetBytesMin = 1024n ** 2n;
const budgetBytesMax = 2n ** 50n;
const volumeBytesMin = 1024n ** 2n;
const volumeBytesMax = 2n ** 50n;

/** A mapping with these keys and no others. */
function section<Shape extends z.ZodRawShape>(shape: Shape) {
  const keys = Object.keys(shape).join(", ");
  return z.strictObject(shape, {
    error: (issue) =>
      issue.code === "unrecognized_keys"
        ? `unknown key "${issue.keys?.[0]}", allowed are ${keys}`
        : `must be a mapping with the keys ${keys}`,
  });
}

const name = z.string({ error: `must be ${poolNameForm}` }).refine(isPoolName, { error: `must be ${poolNameForm}` });

const directory = z
  .string({ error: "must be an absolute path below /" })
  .regex(/^\/[^\0]*[^/\0]\/*$/, { error: "must be an absolute path below /" })
  .transform((path) => path.replace(/\/+$/, ""));

/** A size as text or number, within bounds. */
function byteSize(smallestBytes: bigint, largestBytes: bigint) {
  return z.union([z.string(), z.number()], { error: `must be ${byteSizeForm}` }).transform((value, context): bigint => {
    const sizeBytes = fromByteSize(String(value));
    if (sizeBytes === undefined) context.addIssue(`must be ${byteSizeForm}`);
    else if (sizeBytes < smallestBytes || sizeBytes > largestBytes) {
      context.addIssue(`must be from ${smallestBytes} to ${largestBytes} bytes`);
    }
    return sizeBytes ?? 0n;
  });
}

function numberFrom(smallest: number, largest: number) {
  const error = `must be a number from ${smallest} to ${largest} with at most three decimals`;
  return z
    .number({ error })
    .min(smallest, { error })
    .max(largest, { error })
    .refine((value) => Math.abs(value * 1000 - Math.round(value * 1000)) < 1e-6, { error });
}

const reserveForm = `must be a size (${byteSizeForm}), or a percentage below 100% such as 5%`;

const reserve = z.union([z.string(), z.number()], { error: reserveForm }).transform((value, context): Reserve => {
  const text = String(value);
  const percent = /^([0-9]{1,2}(\.[0-9]{1,3})?)%$/.exec(text)?.[1];
  if (percent !== undefined) return { percent: Number(percent) };
  const bytes = fromByteSize(text);
  if (bytes === undefined) context.addIssue(reserveForm);
  return { bytes: bytes ?? 0n };
});

const watermarks = section({ warning: numberFrom(1, 100), critical: numberFrom(1, 100) })
  .refine(({ warning, critical }) => warning <= critical, { error: "warning must not be above critical" })
  .transform(({ warning, critical }) => ({ warningPercent: warning, criticalPercent: critical }));

const settings = {
  reserve: reserve.optional(),
  overcommit: numberFrom(1, 1000).optional(),
  watermarks: watermarks.optional(),
};

const filePool = section({ name, kind: z.literal("file"), directory, ...settings }).transform(
  ({ name, kind, directory, ...rest }): PoolRequest => ({ kind, name, directory, settings: withoutGaps(rest) }),
);

const memoryPool = section({
  name,
  kind: z.literal("memory"),
  size: byteSize(budgetBytesMin, budgetBytesMax),
  ...settings,
}).transform(
  ({ name, kind, size, ...rest }): PoolRequest => ({ kind, name, budgetBytes: size, settings: withoutGaps(rest) }),
);

const pool = z.discriminatedUnion("kind", [filePool, memoryPool], {
  error: 'must be a mapping whose kind is "file" or "memory"',
});

const countForm = "must be a whole number from 0 to 100000";

const limitForm = "must be a number, or text such as 100Mi or 500ms";

/** Ceilings by the names of StorageClass parameters. */
const limits = section(
  Object.fromEntries(
    limitNames.map((limit) => [limit, z.union([z.string(), z.number()], { error: limitForm }).optional()]),
  ),
).transform((given, context): BlockDeviceLimits => {
  const texts = Object.entries(given).flatMap(([limit, value]) =>
    value === undefined ? [] : [[limit, String(value)]],
  );
  try {
    return parseMaxima(Object.fromEntries(texts));
  } catch (error) {
    context.addIssue(toMessage(error));
    return {};
  }
});

const ephemeral = section({
  defaultSize: byteSize(volumeBytesMin, volumeBytesMax).default(defaultEphemeralRules.sizeBytesDefault),
  maxSize: byteSize(volumeBytesMin, volumeBytesMax).default(defaultEphemeralRules.sizeBytesMax),
  pools: z.array(name, { error: "must be a list of names of pools" }).optional(),
  maxCount: z
    .int({ error: countForm })
    .min(0, { error: countForm })
    .max(100_000, { error: countForm })
    .default(defaultEphemeralRules.volumeCountMax),
  limits: limits.optional(),
})
  .refine(({ defaultSize, maxSize }) => defaultSize <= maxSize, { error: "defaultSize must not be above maxSize" })
  .transform(
    ({ defaultSize, maxSize, pools, maxCount, limits: limitsMax }): EphemeralRules => ({
      sizeBytesDefault: defaultSize,
      sizeBytesMax: maxSize,
      poolNames: pools,
      volumeCountMax: maxCount,
      limitsMax,
    }),
  );

/** The whole file, and what it becomes. */
export const configFileSchema = section({
  pools: z.array(pool, { error: "must be a list of pools" }).optional(),
  ephemeral: ephemeral.optional(),
});

export type ConfigFile = z.output<typeof configFileSchema>;

/** An absent setting must not hide its default. */
function withoutGaps(given: { [Key in keyof PoolSettings]?: PoolSettings[Key] | undefined }): Partial<PoolSettings> {
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
}
