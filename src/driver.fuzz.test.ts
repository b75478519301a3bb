import { Client, status as Code, credentials, type MethodDefinition } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import * as csi from "./gen/csi/csi.js";
import { blockCapability, DriverRig } from "./testing/driver-rig.js";
import { checkAsyncProperty } from "./testing/properties.js";
import { mebibyte } from "./testing/workspace.js";

// Methods by name, requests as far as their fields go: whatever the driver offers is asked.
type AnyMethod = MethodDefinition<object, object>;
const services = {
  ...csi.IdentityService,
  ...csi.ControllerService,
  ...csi.NodeService,
  ...csi.GroupControllerService,
};
const methods = (Object.values(services) as unknown as AnyMethod[]).filter(({ responseStream }) => !responseStream);

let rig: DriverRig;
let client: Client;
let volumeId: string;

beforeAll(async () => {
  // A program or a system call that fails because of what a request said would be INTERNAL, and is what this looks for.
  rig = await DriverRig.start();
  client = new Client(`unix:${rig.socketPath}`, credentials.createInsecure());
  volumeId = (await rig.createVolume("known", blockCapability)).volumeId;
});

afterAll(async () => {
  client.close();
  await rig.remove();
});

function send({ path }: AnyMethod, bytes: Buffer): Promise<{ code: Code; message: string }> {
  const deadline = Date.now() + 60_000;
  return new Promise((resolve) => {
    client.makeUnaryRequest(
      path,
      (message: Buffer) => message,
      (message: Buffer) => message,
      bytes,
      { deadline },
      (error) => resolve({ code: error?.code ?? Code.OK, message: error?.details ?? "" }),
    );
  });
}

/** An answer that blames the caller, or none at all: the driver itself never fails, and tells nothing of its insides. */
async function expectHarmless(method: AnyMethod, bytes: Buffer): Promise<void> {
  const { code, message } = await send(method, bytes);
  const answer = `${method.path}: ${Code[code]}: ${message}`;
  expect(answer).not.toMatch(/: (INTERNAL|UNKNOWN|UNAVAILABLE|DEADLINE_EXCEEDED|CANCELLED):/);
  expect(answer).not.toMatch(/\n\s+at |\.ts:\d|\.js:\d|node:internal/);
  for (const { mountPoint } of rig.workspace.mounter.entries) {
    expect(mountPoint.startsWith(`${rig.workspace.path("targets")}/`)).toBe(true);
  }
}

const anyMethod = fc.constantFrom(...methods);
const number = fc.oneof(fc.integer(), fc.constantFrom(0, -1, 1, 7, 2 ** 31 - 1, -(2 ** 31)));
const long = fc.oneof(
  fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n),
  fc.constantFrom(0n, 1n, -1n, mebibyte, 4n * mebibyte, 3n * mebibyte + 1n, 2n ** 63n - 1n, -(2n ** 63n)),
);
const text = fc.oneof(
  fc.string({ unit: "binary", maxLength: 40 }),
  fc.string({ minLength: 120, maxLength: 140 }),
  fc.constantFrom(
    "..",
    "../../etc/passwd",
    "/",
    "/etc",
    "a/b",
    "known",
    "ext4",
    "xfs",
    "\0",
    "__proto__",
    "constructor",
  ),
  fc.constantFrom("pool", "memory", "disk", "iops", "100", "10Mi", "thin", "after:a", "%s%n", "-o", "--help", "$(id)"),
  // Those that lead somewhere are only known when the workspace is there.
  fc.constantFrom("known-id", "staging", "target").map((name) => ({ place: name })),
);

/** Fields by the kind of value that their name and default hint at; oneofs and maps by what the proto has. */
function valueFor(name: string, depth: number): fc.Arbitrary<unknown> {
  if (/Bytes$/.test(name)) return long;
  if (/^maxEntries$|mode$/.test(name)) return number;
  if (/readonly/.test(name)) return fc.boolean();
  if (/(secrets|arameters|Context|segments)$/.test(name))
    return fc.dictionary(fc.string(), fc.string(), { maxKeys: 4 });
  if (/Flags$|Ids$/.test(name)) return fc.array(text, { maxLength: 4 });
  if (/^(requisite|preferred)$/.test(name)) return fc.array(record(["segments"], depth), { maxLength: 3 });
  if (/^accessibleTopology$/.test(name)) return record(["segments"], depth);
  if (/Capabilities$/.test(name)) return fc.array(capability, { maxLength: 3 });
  if (/Capability$/.test(name)) return capability;
  if (/capacityRange/.test(name)) return record(["requiredBytes", "limitBytes"], depth);
  if (/Requirements$/.test(name)) return record(["requisite", "preferred"], depth);
  if (/volumeContentSource/.test(name)) return contentSource;
  return text;
}

const record = (names: readonly string[], depth: number): fc.Arbitrary<object> =>
  fc.record(Object.fromEntries(names.map((name) => [name, valueFor(name, depth + 1)])), { requiredKeys: [] });

const mountValue = fc.record(
  { fsType: text, mountFlags: fc.array(text, { maxLength: 4 }), volumeMountGroup: text },
  { requiredKeys: [] },
);
const accessType = fc.option(
  fc.oneof(
    fc.constant({ $case: "block", value: {} }),
    mountValue.map((value) => ({ $case: "mount", value })),
  ),
  { nil: undefined },
);
const accessMode = fc.option(fc.record({ mode: fc.oneof(number, fc.integer({ min: 0, max: 8 })) }), { nil: undefined });
const capability = fc.record({ accessType, accessMode });
const contentSource = fc.oneof(
  text.map((snapshotId) => ({ type: { $case: "snapshot", value: { snapshotId } } })),
  text.map((id) => ({ type: { $case: "volume", value: { volumeId: id } } })),
);

/** The wish of a request, with the places of this workspace put in. */
function settle(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(settle);
  if ("place" in value)
    return value.place === "known-id" ? volumeId : rig.workspace.path("targets", String(value.place));
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, settle(item)]));
}

const requests = anyMethod.chain((method) => {
  const fields = Object.keys(method.requestDeserialize(Buffer.alloc(0)));
  return record(fields, 0).map((request) => ({ method, request }));
});

interface RequestCodec {
  fromPartial(request: object): object;
  encode(request: object): { finish(): Uint8Array };
}

function encode({ method, request }: { method: AnyMethod; request: object }): Buffer {
  const name = `${method.path.slice(method.path.lastIndexOf("/") + 1)}Request`;
  const { [name]: codec } = csi as unknown as Record<string, RequestCodec | undefined>;
  if (codec === undefined) throw new Error(`the generated code has no ${name}`);
  return Buffer.from(codec.encode(codec.fromPartial(settle(request) as object)).finish());
}

describe("whatever arrives on the socket is answered, blames its sender, and mounts nothing outside", () => {
  test("requests with fields of any content", async () => {
    await checkAsyncProperty([requests], async (wish) => await expectHarmless(wish.method, encode(wish)));
  }, 600_000);

  test("requests with a byte that was changed", async () => {
    const change = fc.tuple(requests, fc.nat(), fc.integer({ min: 0, max: 255 }));
    await checkAsyncProperty([change], async ([wish, position, byte]) => {
      const bytes = encode(wish);
      if (bytes.length > 0) bytes[position % bytes.length] = byte;
      await expectHarmless(wish.method, bytes);
    });
  }, 600_000);

  test("bytes of any kind", async () => {
    await checkAsyncProperty([anyMethod, fc.uint8Array({ maxLength: 200 })], async (method, bytes) => {
      await expectHarmless(method, Buffer.from(bytes));
    });
  }, 600_000);

  test("and the driver serves on", async () => {
    const probe = methods.find(({ path }) => path.endsWith("/Probe")) as AnyMethod;
    expect(await send(probe, Buffer.alloc(0))).toEqual({ code: Code.OK, message: "" });
  });
});
