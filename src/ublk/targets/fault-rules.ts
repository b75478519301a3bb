import { constants } from "node:os";
import type { NativeFaultRule } from "../addon.js";
import { UblkError } from "../errors.js";

export type FaultOperation = "read" | "write" | "flush" | "discard" | "write-zeroes";

/** Where the process dies: before the target sees the request, after its I/O, or after the kernel has its answer. */
export type DeathPoint = "before-io" | "after-io" | "after-commit";

/** What happens to a request that a rule chooses. Exactly one of them. */
export type FaultAction =
  /** Its I/O begins so much later. */
  | { delayMs: number }
  /** It fails with this errno, such as "EIO", without any I/O. */
  | { error: string }
  /** Of a write, so many bytes from its beginning are stored; then it fails with EIO. */
  | { tearAfterBytes: number }
  /** It is not answered until `setFaultRules` gives other rules. A released device leaves it to its next server. */
  | { hang: true }
  /** The process ends as by SIGKILL. */
  | { die: DeathPoint };

/**
 * Chooses requests and says what happens to them. Of several rules that choose a request the first counts, but every rule
 * counts the requests that match it.
 */
export type FaultRule = FaultAction & {
  /** Default: all. */
  operations?: readonly FaultOperation[];
  /** Requests that touch the range; default: the whole device. A flush has no place and is in no range. */
  offsetBytes?: bigint;
  lengthBytes?: bigint;
  /** So many matching requests pass first. Default 0. */
  after?: number;
  /** Of those that follow, the first and then every so many. Default 1. */
  every?: number;
  /** At most so many faults. Default: no limit. */
  times?: number;
  /** How likely each of them happens, above 0 and up to 1. Default 1. */
  probability?: number;
};

const operationBits: Record<FaultOperation, number> = {
  read: 1 << 0,
  write: 1 << 1,
  flush: 1 << 2,
  discard: 1 << 3,
  "write-zeroes": 1 << 5,
};
const allOperations = Object.values(operationBits).reduce((sum, bit) => sum | bit, 0);
const deathPoints: readonly DeathPoint[] = ["before-io", "after-io", "after-commit"];
const actions = ["delayMs", "error", "tearAfterBytes", "hang", "die"] as const;
const conditions = ["operations", "offsetBytes", "lengthBytes", "after", "every", "times", "probability"];
const longestDelayMs = 3_600_000;
const maxCount = 2 ** 32 - 1;
const rulesMax = 256;

/** Throws an `invalid_option` that names the rule and the member which is wrong. */
export function validateFaultRules(rules: unknown, operation: string): void {
  const fail = (name: string, value: unknown, expected: string): never => {
    throw new UblkError("invalid_option", `${name} is ${show(value)}; expected ${expected}`, { operation });
  };
  const list: unknown[] = Array.isArray(rules) ? rules : fail("target.rules", rules, "an array of rules");
  if (list.length > rulesMax) fail("target.rules.length", list.length, `at most ${rulesMax}`);
  for (const [index, rule] of list.entries()) {
    new RuleChecker(`target.rules[${index}]`, fail).check(rule as Record<string, unknown>);
  }
}

/** Rules that are valid, with every default filled in. */
export function toNativeFaultRules(rules: readonly FaultRule[]): NativeFaultRule[] {
  return rules.map((rule) => {
    const { operations, offsetBytes = 0n, lengthBytes = 2n ** 63n } = rule;
    const { after = 0, every = 1, times = maxCount, probability = 1 } = rule;
    const hasRange = rule.offsetBytes !== undefined || rule.lengthBytes !== undefined;
    const chosen = operations?.reduce((bits, name) => bits | operationBits[name], 0) ?? allOperations;
    const limits = { after, every, times, probability };
    return { operations: chosen, hasRange, offsetBytes, lengthBytes, ...limits, ...toNativeAction(rule) };
  });
}

function toNativeAction(rule: FaultAction): Pick<NativeFaultRule, "action" | "value"> {
  if ("delayMs" in rule) return { action: "delay", value: rule.delayMs };
  if ("error" in rule) return { action: "error", value: toErrno(rule.error) ?? constants.errno.EIO };
  if ("tearAfterBytes" in rule) return { action: "tear", value: rule.tearAfterBytes };
  if ("die" in rule) return { action: "die", value: deathPoints.indexOf(rule.die) };
  return { action: "hang", value: 0 };
}

type Fail = (name: string, value: unknown, expected: string) => never;

class RuleChecker {
  constructor(
    private readonly name: string,
    private readonly fail: Fail,
  ) {}

  check(rule: Record<string, unknown>): void {
    if (typeof rule !== "object" || rule === null) this.fail(this.name, rule, "an object");
    const known = [...actions, ...conditions];
    const unknown = Object.keys(rule).find((key) => !known.includes(key));
    if (unknown !== undefined) this.fail(`${this.name}: the unknown name`, unknown, `one of ${known.join(", ")}`);
    const given = actions.filter((action) => rule[action] !== undefined);
    if (given.length !== 1) {
      this.fail(`${this.name}: the action`, given.join(" and ") || undefined, `exactly one of ${actions.join(", ")}`);
    }
    this.checkAction(rule);
    this.checkConditions(rule);
  }

  private checkAction({ delayMs, error, tearAfterBytes, hang, die }: Record<string, unknown>): void {
    this.integer("delayMs", delayMs, 1, longestDelayMs);
    this.integer("tearAfterBytes", tearAfterBytes, 0, maxCount);
    if (hang !== undefined && hang !== true) this.fail(`${this.name}.hang`, hang, "true");
    if (die !== undefined && !deathPoints.includes(die as DeathPoint)) {
      this.fail(`${this.name}.die`, die, `one of ${deathPoints.join(", ")}`);
    }
    if (error !== undefined && (typeof error !== "string" || toErrno(error) === undefined)) {
      this.fail(`${this.name}.error`, error, 'the name of an errno, such as "EIO"');
    }
  }

  private checkConditions(rule: Record<string, unknown>): void {
    const { operations } = rule;
    const names = Object.keys(operationBits);
    const isList = Array.isArray(operations) && operations.length > 0;
    if (operations !== undefined && !(isList && operations.every((name) => names.includes(name)))) {
      this.fail(`${this.name}.operations`, operations, `a list of some of ${names.join(", ")}`);
    }
    this.bytes("offsetBytes", rule.offsetBytes, 0n);
    this.bytes("lengthBytes", rule.lengthBytes, 1n);
    this.integer("after", rule.after, 0, maxCount);
    this.integer("every", rule.every, 1, maxCount);
    this.integer("times", rule.times, 1, maxCount);
    const { probability } = rule;
    const isChance = typeof probability === "number" && probability > 0 && probability <= 1;
    if (probability !== undefined && !isChance) {
      this.fail(`${this.name}.probability`, probability, "a number above 0 and up to 1");
    }
  }

  private integer(name: string, value: unknown, min: number, max: number): void {
    if (value === undefined) return;
    if (typeof value === "number" && Number.isInteger(value) && value >= min && value <= max) return;
    this.fail(`${this.name}.${name}`, value, `a whole number from ${min} to ${max}`);
  }

  private bytes(name: string, value: unknown, min: bigint): void {
    if (value === undefined || (typeof value === "bigint" && value >= min && value < 2n ** 63n)) return;
    this.fail(`${this.name}.${name}`, value, `a bigint from ${min}n to 2n ** 63n - 1n`);
  }
}

function toErrno(name: string): number | undefined {
  return Object.hasOwn(constants.errno, name) ? constants.errno[name as keyof typeof constants.errno] : undefined;
}

function show(value: unknown): string {
  return typeof value === "string" ? JSON.stringify(value) : String(value);
}
