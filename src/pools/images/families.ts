/** Which images may have blocks in common: those that were made from one another, at whatever remove. */
export class Families {
  private readonly familyOf = new Map<string, Set<string>>();

  /** One was made from the other. */
  join(id: string, otherId: string): void {
    const [one, other] = [this.ofOrAlone(id), this.ofOrAlone(otherId)];
    if (one === other) return;
    const [small, large] = one.size < other.size ? [one, other] : [other, one];
    for (const member of small) {
      large.add(member);
      this.familyOf.set(member, large);
    }
  }

  /** It is gone; those that it was the link between stay relatives. */
  remove(id: string): void {
    this.familyOf.get(id)?.delete(id);
    this.familyOf.delete(id);
  }

  /** The family of an id, itself included. The same object for each of its members. */
  of(id: string): ReadonlySet<string> {
    return this.ofOrAlone(id);
  }

  private ofOrAlone(id: string): Set<string> {
    const known = this.familyOf.get(id) ?? new Set([id]);
    this.familyOf.set(id, known);
    return known;
  }
}
