import { DriverError } from "../errors.js";

/** A field that CSI requires; an empty one counts as missing. */
export function requireField(name: string, value: string): string {
  if (value === "") throw new DriverError("invalid", `${name} is required`);
  return value;
}

/** The id of a snapshot or a group; see {@link requireVolumeId}. */
export function requireId(name: string, value: string): string {
  requireField(name, value);
  if (!value.includes("/") && !value.includes("..")) return value;
  throw new DriverError("invalid", `${name} "${value}" must not contain "/" or ".."`);
}

/** The id of a volume. Any id that is not ours is merely unknown, but one that tries to be a path is an attack or a bug. */
export function requireVolumeId(value: string): string {
  return requireId("volume_id", value);
}

/** An absolute path without detours, in the form that the kernel reports mounts in. */
export function requirePath(name: string, value: string): string {
  requireField(name, value);
  const segments = value.split("/");
  if (!value.startsWith("/") || segments.includes("..") || value.includes("\0")) {
    throw new DriverError("invalid", `${name} "${value}" must be an absolute path without ".."`);
  }
  return `/${segments.filter((segment) => segment !== "" && segment !== ".").join("/")}`;
}
