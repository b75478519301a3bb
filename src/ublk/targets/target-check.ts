import { UblkError } from "../errors.js";
import { validateFaultRules } from "./fault-rules.js";
import type { PlainTarget, Target } from "./target.js";

const kinds = ["null", "memory", "file", "fault", "js"] as const;
const plainKinds = ["null", "memory", "file"] as const;
const requiredMethods = ["readAt", "writeAt"] as const;
const optionalMethods = ["flush", "trim", "writeZeroes"] as const;
const maxSeed = 2 ** 32 - 1;

/** Returns the target, or throws an `invalid_option` that names what is wrong with it. */
export function checkTarget(target: Target, operation: string): Target {
  new TargetChecker(operation).check("target", target, kinds);
  return target;
}

class TargetChecker {
  constructor(private readonly operation: string) {}

  check(name: string, target: Target, allowed: readonly string[]): void {
    const kind: unknown = target?.kind;
    if (typeof kind !== "string" || !allowed.includes(kind)) {
      this.fail(`${name}.kind`, kind, `"${allowed.slice(0, -1).join('", "')}" or "${allowed.at(-1)}"`);
    }
    if (target.kind === "fault") this.fault(target);
    else if (target.kind === "js") this.backend(target.backend);
    else this.path(name, target);
  }

  private path(name: string, target: PlainTarget): void {
    const path: unknown = (target as { path?: unknown }).path;
    if (target.kind === "null" && path !== undefined) this.fail(`${name}.path of a null target`, path, "none");
    if (path === undefined && target.kind !== "file") return;
    if (typeof path === "string" && path.startsWith("/") && !path.includes("\0")) return;
    this.fail(`${name}.path`, path, "an absolute path");
  }

  private fault({ over, rules, seed = 1 }: Target & { kind: "fault" }): void {
    this.check("target.over", over, plainKinds);
    validateFaultRules(rules, this.operation);
    if (Number.isInteger(seed) && seed >= 0 && seed <= maxSeed) return;
    this.fail("target.seed", seed, `a whole number from 0 to ${maxSeed}`);
  }

  private backend(backend: unknown): void {
    if (typeof backend !== "object" || backend === null) this.fail("target.backend", backend, "an object");
    const methods = backend as Record<string, unknown>;
    for (const name of requiredMethods) {
      if (typeof methods[name] !== "function") this.fail(`target.backend.${name}`, methods[name], "a method");
    }
    for (const name of optionalMethods) {
      if (methods[name] === undefined || typeof methods[name] === "function") continue;
      this.fail(`target.backend.${name}`, methods[name], "a method, or none");
    }
    const { size } = methods;
    if (typeof size === "bigint" && size > 0n && size <= BigInt(Number.MAX_SAFE_INTEGER)) return;
    this.fail("target.backend.size", size, `a bigint from 1n to ${Number.MAX_SAFE_INTEGER}n`);
  }

  private fail(name: string, value: unknown, expected: string): never {
    const shown = typeof value === "string" ? JSON.stringify(value) : String(value);
    throw new UblkError("invalid_option", `${name} is ${shown}; expected ${expected}`, { operation: this.operation });
  }
}
