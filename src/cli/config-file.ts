import { readFile } from "node:fs/promises";
import { type Document, isMap, isNode, isScalar, LineCounter, parseDocument } from "yaml";
import type * as z from "zod";
import { toMessage } from "../errors.js";
import { type ConfigFile, configFileSchema } from "./config-schema.js";
import { ConfigError } from "./values.js";

/** Reads and checks a configuration file. The first thing wrong is a ConfigError with its line, and what is allowed. */
export async function readConfigFile(path: string): Promise<ConfigFile> {
  const text = await readFile(path, "utf8").catch((error: unknown) => {
    throw new ConfigError(`--config ${path} cannot be read: ${toMessage(error)}`);
  });
  return parseConfigFile(text, path);
}

/** As {@link readConfigFile}; `path` is for messages. */
export function parseConfigFile(text: string, path: string): ConfigFile {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, version: "1.2" });
  const [problem] = [...document.errors, ...document.warnings];
  if (problem !== undefined) {
    throw new ConfigError(`${path}:${lines.linePos(problem.pos[0]).line}: not valid YAML: ${problem.message}`);
  }
  const parsed = configFileSchema.safeParse(toPlain(document, path));
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  if (issue === undefined) throw new ConfigError(`${path} is not a valid configuration`);
  const where = formatPath(issue.path);
  throw new ConfigError(`${path}:${findLine(document, lines, issue)}: ${where}${issue.message}`);
}

// Expanding aliases can fail, and is bounded by the library.
function toPlain(document: Document, path: string): unknown {
  try {
    return document.toJS() ?? {};
  } catch (error) {
    throw new ConfigError(`${path}: not valid YAML: ${toMessage(error)}`);
  }
}

function formatPath(path: readonly PropertyKey[]): string {
  if (path.length === 0) return "";
  const steps = path.map((step) => (typeof step === "number" ? `[${step}]` : `.${String(step)}`));
  return `${steps.join("").replace(/^\./, "")} `;
}

/** The line of the unknown key, of the wrong value, or of the closest thing around what is missing. */
function findLine(document: Document, lines: LineCounter, issue: z.core.$ZodIssue): number {
  const steps = [...issue.path];
  if (issue.code === "unrecognized_keys") {
    const offset = offsetOfKey(document.getIn(steps, true), issue.keys[0]);
    if (offset !== undefined) return lines.linePos(offset).line;
  }
  for (;;) {
    const node = document.getIn(steps, true);
    if (isNode(node) && node.range) return lines.linePos(node.range[0]).line;
    if (steps.pop() === undefined) return 1;
  }
}

function offsetOfKey(node: unknown, key: string | undefined): number | undefined {
  if (!isMap(node)) return undefined;
  const pair = node.items.find((item) => isScalar(item.key) && String(item.key.value) === key);
  return isScalar(pair?.key) ? pair.key.range?.[0] : undefined;
}
