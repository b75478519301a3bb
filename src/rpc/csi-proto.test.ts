import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { describe, expect, test } from "@jest/globals";
import { mapNames } from "./field-limits.js";
import { secretFieldNames } from "./redact.js";

const root = fileURLToPath(new URL("../../", import.meta.url));

async function buildDescriptor(format: "binpb" | "json"): Promise<Buffer> {
  const args = ["build", "proto", "--path", "proto/csi", "--exclude-source-info", "--exclude-imports"];
  const output = ["--as-file-descriptor-set", "-o", `-#format=${format}`];
  const options = { cwd: root, encoding: "buffer", maxBuffer: 16 * 1024 ** 2 } as const;
  return (await promisify(execFile)(`${root}node_modules/.bin/buf`, [...args, ...output], options)).stdout;
}

interface Field {
  name: string;
  options?: Record<string, boolean>;
}

interface Message {
  field?: Field[];
  nestedType?: Message[];
}

function fieldsOf(messages: readonly Message[]): Field[] {
  return messages.flatMap(({ field = [], nestedType = [] }) => [...field, ...fieldsOf(nestedType)]);
}

describe("proto/csi/csi.proto", () => {
  test("describes the same interface as the specification's own module", async () => {
    const recorded = (await readFile(`${root}proto/csi/descriptor.sha256`, "utf8")).trim();
    const descriptor = await buildDescriptor("binpb");
    expect(createHash("sha256").update(descriptor).digest("hex")).toBe(recorded);
  }, 30_000);

  test("marks as secret exactly the fields that are redacted", async () => {
    const { file } = JSON.parse((await buildDescriptor("json")).toString("utf8")) as {
      file: Array<{ name: string; messageType: Message[] }>;
    };
    const fields = fieldsOf(file.flatMap(({ messageType }) => messageType));
    const isSecret = ({ options }: Field) => options?.["[csi.v1.csi_secret]"] === true;
    expect(new Set(fields.filter(isSecret).map(({ name }) => name))).toEqual(secretFieldNames);
    expect(fields.filter((field) => secretFieldNames.has(field.name) && !isSecret(field))).toEqual([]);
    expect(fields.filter(isSecret).length).toBeGreaterThan(15);
  }, 30_000);

  test("has maps exactly where requests are checked as maps", async () => {
    const text = await readFile(`${root}proto/csi/csi.proto`, "utf8");
    const fields = [...text.matchAll(/^\s*(map<[^>]*>|[\w. ]+?)\s+(\w+)\s*=\s*\d+/gm)];
    const maps = fields.filter(([, type]) => type?.startsWith("map<")).map(([, , name]) => name ?? "");
    expect(maps.length).toBeGreaterThan(15);
    expect(maps.filter((name) => !mapNames.test(name))).toEqual([]);
    const others = fields.filter(([, type]) => !type?.startsWith("map<")).map(([, , name]) => name ?? "");
    expect(others.filter((name) => mapNames.test(name))).toEqual([]);
  });

  test("keeps the notice and says where it comes from", async () => {
    const text = await readFile(`${root}proto/csi/csi.proto`, "utf8");
    expect(text).toContain("github.com/container-storage-interface/spec v1.13.0");
    expect(text).toContain("Licensed under the Apache License, Version 2.0");
  });
});
