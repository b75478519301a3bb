import * as z from "zod";
import { toMessage } from "../../errors.js";

/** What the header of one of our volumes must say about how its bytes and its key are encrypted. */
export interface ExpectedProtection {
  sectorSizeBytes: 512 | 4096;
  headerSizeBytes: bigint;
}

/** The cipher of everything; with keys of 512 bits it is AES-256. */
export const luksCipher = "aes-xts-plain64";
export const luksKeyBits = 512;

const keyBytes = luksKeyBits / 8;

/**
 * Why a volume is not to be opened by this header, or undefined. A LUKS2 header is not authenticated, and who can write to the
 * image can let it name a cipher that does nothing, for the data or for the key: it then opens with the right passphrase,
 * and all that is written from then on lies open. `text` is what `cryptsetup luksDump --dump-json-metadata` prints; its
 * fields are those of the LUKS2 On-Disk Format Specification, sections 3 and 4.
 */
export function explainWeakness(text: string, expected: ExpectedProtection): string | undefined {
  try {
    const { success, error } = toSchema(expected).safeParse(JSON.parse(text));
    return success ? undefined : z.prettifyError(error).replaceAll("\n", " ");
  } catch (error) {
    return toMessage(error);
  }
}

function toSchema({ sectorSizeBytes, headerSizeBytes }: ExpectedProtection) {
  const keyslot = z.object({
    type: z.literal("luks2"),
    key_size: z.literal(keyBytes),
    area: z.object({ type: z.literal("raw"), encryption: z.literal(luksCipher), key_size: z.literal(keyBytes) }),
  });
  const segment = z.object({
    type: z.literal("crypt"),
    encryption: z.literal(luksCipher),
    iv_tweak: z.literal("0"),
    offset: z.literal(`${headerSizeBytes}`),
    size: z.literal("dynamic"),
    sector_size: z.literal(sectorSizeBytes),
    // Integrity tags or a conversion that is under way would make it another kind of segment.
    integrity: z.never().optional(),
    flags: z.never().optional(),
  });
  return z.object({
    keyslots: z.record(z.string(), keyslot),
    segments: z.strictObject({ "0": segment }),
    config: z.object({ requirements: z.never().optional() }),
  });
}
