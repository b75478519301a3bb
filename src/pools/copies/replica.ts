import type { Pool } from "../pool/pool.js";

/** An image to be had twice, as it is at one instant. */
export interface Replica {
  source: ImageSource;
  /** Id of what the new image belongs to. */
  id: string;
  /** Where the new image will be; nothing is there yet. */
  targetPath: string;
  targetPool: Pool;
  /** Whether no block may be shared with the source, though the pool could. Default: no. */
  isOwnOnly?: boolean;
}

/** The image of a volume or a snapshot. */
export interface ImageSource {
  id: string;
  pool: Pool;
  path: string;
  sizeBytes: bigint;
}
