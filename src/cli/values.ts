import { isIP } from "node:net";
import { type LogLevel, logLevels } from "../log-levels.js";
import type { MetricsEndpoint } from "../metrics/metrics-server.js";
import { isPoolName, poolNameForm } from "../pools/parameters/pool-name.js";
import { socketPathBytesMax } from "../rpc/unix-socket.js";
import { byteSizeForm, fromByteSize } from "../system/byte-size.js";

/** A flag or variable with a value that cannot be used. The message is one line and says what would be right. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  readonly code = "invalid_config";

  constructor(message: string) {
    super(message.replace(/\p{Cc}/gu, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`));
  }
}

/** `unix:///run/csi.sock`, `unix:/run/csi.sock` or the bare path: the path of the socket. */
export function parseEndpoint(text: string, flag = "--endpoint", bytesMax = socketPathBytesMax): string {
  const path = text.replace(/^unix:(\/\/)?/, "");
  if (!path.startsWith("/") || path.endsWith("/") || path.includes("\0")) {
    throw new ConfigError(`${flag} "${text}" must be unix:// and an absolute path, such as unix:///csi/csi.sock`);
  }
  if (Buffer.byteLength(path) > bytesMax) {
    throw new ConfigError(`${flag} path has ${Buffer.byteLength(path)} bytes, sockets take ${bytesMax}`);
  }
  return path;
}

/** `http://ADDRESS:PORT`, with an IP address. */
export function parseMetricsEndpoint(text: string): MetricsEndpoint {
  const [, address = "", digits = ""] = /^http:\/\/(.+):([0-9]{1,5})\/?$/.exec(text) ?? [];
  const host = /^\[(.*)\]$/.exec(address)?.[1] ?? address;
  const port = Number(digits);
  if (isIP(host) === (address === host ? 4 : 6) && port >= 1 && port <= 65_535) return { host, port };
  const form = "http://, an IP address (one of IPv6 in brackets), and a port, such as http://127.0.0.1:9810";
  throw new ConfigError(`--metrics-endpoint "${text}" must be ${form}`);
}

/** How much is logged. */
export function parseLogLevel(text: string): LogLevel {
  const level = logLevels.find((known) => known === text);
  if (level !== undefined) return level;
  throw new ConfigError(`--log-level "${text}" must be one of ${logLevels.join(", ")}`);
}

/** The node's id, which is its topology value too, so that it must be one. */
export function parseNodeId(text: string): string {
  if (/^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/.test(text)) return text;
  const form = "1 to 63 letters, digits, '.', '_' or '-', the first and last a letter or digit";
  throw new ConfigError(`--node-id "${text}" must be ${form}`);
}

/** The driver's name, short and plain enough for `topology.<name>` to be a topology key's prefix. */
export function parseDriverName(text: string): string {
  if (/^[a-z][a-z0-9.-]{0,52}[a-z]$/.test(text)) return text;
  const form = "2 to 54 lower-case letters, digits, '.' or '-', the first and last a letter";
  throw new ConfigError(`--driver-name "${text}" must be ${form}`);
}

/** An absolute directory. */
export function parseDirectory(flag: string, text: string): string {
  const path = text.replace(/\/+$/, "");
  if (path.startsWith("/") && !path.includes("\0")) return path;
  throw new ConfigError(`${flag} "${text}" must be an absolute path below /`);
}

/** `NAME=VALUE` of a pool flag, with a name that is safe in paths, logs and StorageClasses. */
export function parsePoolFlag(flag: string, text: string): { name: string; value: string } {
  const separator = text.indexOf("=");
  const [name, value] = [text.slice(0, separator), text.slice(separator + 1)];
  if (separator < 1 || value === "") {
    const example = flag === "--pool" ? "fast=/var/lib/fast" : "scratch=4Gi";
    throw new ConfigError(`${flag} "${text}" must be NAME=VALUE, such as ${flag} ${example}`);
  }
  if (isPoolName(name)) return { name, value };
  throw new ConfigError(`${flag} "${text}": the name "${name}" must be ${poolNameForm}`);
}

const smallestBudgetBytes = 1024n ** 2n;
const largestBudgetBytes = 2n ** 50n;

/** A number of bytes as Kubernetes writes it: 1073741824, 1Gi, 1G. */
export function parseByteSize(flag: string, text: string): bigint {
  const sizeBytes = fromByteSize(text);
  if (sizeBytes === undefined) throw new ConfigError(`${flag} size "${text}" must be ${byteSizeForm}`);
  if (sizeBytes >= smallestBudgetBytes && sizeBytes <= largestBudgetBytes) return sizeBytes;
  throw new ConfigError(`${flag} size "${text}" must be from 1Mi to 1024Ti`);
}
