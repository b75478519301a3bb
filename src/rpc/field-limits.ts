import type { Wrapper } from "./handler.js";
import { Code, RpcError } from "./status.js";

const stringBytesMax = 128;
const mapBytesMax = 4096;
/** Of messages or ids. The specification has no limit; what Kubernetes sends stays far below. */
const listLengthMax = 1024;
/** PATH_MAX. The specification lets paths be longer than other strings, and kubelet's are. */
const pathBytesMax = 4096;

/** Refuses fields beyond the size limits of the CSI specification, which count bytes, not characters. */
export function withFieldLimits(): Wrapper {
  return (next) => async (request, context) => {
    assertFieldLimits(request);
    return await next(request, context);
  };
}

/** Throws for a request with a field beyond these limits. */
export function assertFieldLimits(request: object): void {
  checkMessage(request, "");
}

/** Maps with string values have a limit in all; every other nested message is checked field by field. */
function checkMessage(message: object, prefix: string): void {
  for (const [name, value] of Object.entries(message) as Array<[string, unknown]>) {
    const path = `${prefix}${toProtoName(name)}`;
    if (typeof value === "string" && name !== "$case") checkString(path, value);
    else if (Array.isArray(value)) checkList(path, value);
    else if (typeof value === "object" && value !== null) checkObject(path, value);
  }
}

function checkObject(path: string, value: object): void {
  if (mapNames.test(path)) checkMap(path, value);
  else checkMessage(value, `${path}.`);
}

function checkString(path: string, value: string): void {
  const isPath = path.endsWith("_path");
  const bytesMax = isPath ? pathBytesMax : stringBytesMax;
  const sizeBytes = Buffer.byteLength(value);
  if (sizeBytes > bytesMax) throw invalid(`${path} has ${sizeBytes} bytes, at most ${bytesMax} are allowed`);
  checkCharacters(path, value);
}

function checkCharacters(path: string, value: string): void {
  const banned = bannedCharacters.exec(value);
  if (banned !== null) throw invalid(`${path} has the control character ${describe(banned[0])}, which CSI forbids`);
}

function checkList(path: string, values: readonly unknown[]): void {
  const { length } = values;
  if (length > listLengthMax) throw invalid(`${path} has ${length} entries, at most ${listLengthMax} are allowed`);
  for (const value of values) {
    if (typeof value === "object" && value !== null) checkMessage(value, `${path}.`);
    else if (typeof value === "string" && !isMountFlags(path)) checkString(path, value);
  }
  if (isMountFlags(path)) checkMountFlags(path, values as string[]);
}

// Flags have a limit in all, so that one may be longer than other strings.
function checkMountFlags(path: string, flags: readonly string[]): void {
  const sizeBytes = flags.reduce((sum, flag) => sum + Buffer.byteLength(flag), 0);
  if (sizeBytes > mapBytesMax) throw invalid(`${path} has ${sizeBytes} bytes, at most ${mapBytesMax} are allowed`);
  for (const flag of flags) checkCharacters(path, flag);
}

function checkMap(path: string, map: object): void {
  const sizeBytes = Object.entries(map).reduce(
    (sum, [key, value]) => sum + Buffer.byteLength(key) + Buffer.byteLength(String(value)),
    0,
  );
  if (sizeBytes > mapBytesMax) {
    throw invalid(`${path} has ${sizeBytes} bytes in all, at most ${mapBytesMax} are allowed`);
  }
  for (const [key, value] of Object.entries(map)) {
    checkCharacters(`a key of ${path}`, key);
    checkCharacters(`a value of ${path}`, String(value));
  }
}

/** The fields that are maps of strings, whatever message they are in. A test compares this with the proto. */
export const mapNames = /(^|[._])(secrets|parameters|context|segments|manifest)$/;
const isMountFlags = (path: string): boolean => /(^|\.)mount_flags$/.test(path);

// The specification's list. Tab, line feed and carriage return are not on it.
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what this looks for
const bannedCharacters = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]/;

const describe = (character: string): string => `U+${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
const toProtoName = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
const invalid = (message: string): RpcError => new RpcError(Code.INVALID_ARGUMENT, message);
