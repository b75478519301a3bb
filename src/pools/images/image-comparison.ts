import type { FileRange } from "../../system/image-files.js";
import { minBytes } from "../volume/bytes.js";
import { endOf, type Piece, toRange } from "./image-pieces.js";

/** A range that two images do not have in common for certain. */
export interface Difference extends FileRange {
  /** Whether the bytes themselves have to be compared, because the places on the disk say nothing. */
  isDoubtful: boolean;
}

/**
 * What differs between two images, by their pieces alone. Holes in both are equal, as are blocks that both share. A block
 * that is shared with others but not between the two was written in between: it counts as different, without a look at it.
 */
export async function* comparePieces(
  base: AsyncIterable<Piece>,
  target: AsyncIterable<Piece>,
): AsyncGenerator<Difference> {
  const one = new Cursor(base);
  const other = new Cursor(target);
  await Promise.all([one.advance(0n), other.advance(0n)]);
  let position = 0n;
  while (one.piece !== undefined || other.piece !== undefined) {
    position = nearer(one.startAfter(position), other.startAfter(position));
    const end = nearer(one.nextEdge(position), other.nextEdge(position));
    const relation = relate(one.at(position), other.at(position), position);
    if (relation !== "equal") yield { ...toRange(position, end), isDoubtful: relation === "unknown" };
    position = end;
    await Promise.all([one.advance(position), other.advance(position)]);
  }
}

function relate(
  base: Piece | undefined,
  target: Piece | undefined,
  position: bigint,
): "equal" | "different" | "unknown" {
  const places = [placeAt(base, position), placeAt(target, position)];
  if (places[0] === undefined && places[1] === undefined) return "unknown";
  return places[0] === places[1] ? "equal" : "different";
}

function placeAt(piece: Piece | undefined, position: bigint): bigint | undefined {
  if (piece?.sharedPlaceBytes === undefined) return undefined;
  return piece.sharedPlaceBytes + (position - piece.offsetBytes);
}

/** The nearer of two places, of which one is there. */
function nearer(one: bigint | undefined, other: bigint | undefined): bigint {
  if (one !== undefined && other !== undefined) return minBytes(one, other);
  return one ?? other ?? unreachable();
}

function unreachable(): never {
  throw new Error("bug: both images had no piece left");
}

/** A place among the pieces of one image. */
class Cursor {
  piece: Piece | undefined;
  private readonly pieces: AsyncIterator<Piece>;

  constructor(pieces: AsyncIterable<Piece>) {
    this.pieces = pieces[Symbol.asyncIterator]();
  }

  /** Leaves the pieces behind that end before the position. */
  async advance(position: bigint): Promise<void> {
    while (this.piece === undefined || endOf(this.piece) <= position) {
      const next = await this.pieces.next();
      this.piece = next.done === true ? undefined : next.value;
      if (next.done === true) return;
    }
  }

  /** The piece that covers the position. */
  at(position: bigint): Piece | undefined {
    return this.piece !== undefined && this.piece.offsetBytes <= position ? this.piece : undefined;
  }

  /** Where the piece begins, or the position when that lies inside. */
  startAfter(position: bigint): bigint | undefined {
    if (this.piece === undefined) return undefined;
    return this.piece.offsetBytes > position ? this.piece.offsetBytes : position;
  }

  /** The next beginning or end of a piece behind the position. */
  nextEdge(position: bigint): bigint | undefined {
    if (this.piece === undefined) return undefined;
    return this.piece.offsetBytes > position ? this.piece.offsetBytes : endOf(this.piece);
  }
}
