/** The smaller of two sizes. Math.min does not take bigint. */
export function minBytes(left: bigint, right: bigint): bigint {
  return left < right ? left : right;
}

/** The larger of two sizes. */
export function maxBytes(left: bigint, right: bigint): bigint {
  return left > right ? left : right;
}
