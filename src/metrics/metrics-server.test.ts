import { connect } from "node:net";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { Registry } from "prom-client";
import { createSilentLogger } from "../log.js";
import { rejectionOf } from "../testing/workspace.js";
import { formatEndpoint, MetricsServer } from "./metrics-server.js";

const endpoint = { host: "127.0.0.1", port: 0 };
const logger = createSilentLogger();

let registry: Registry;
let server: MetricsServer;

beforeEach(async () => {
  registry = new Registry();
  server = new MetricsServer(endpoint, registry, logger);
  await server.start();
});
afterEach(() => server.stop());

const portOf = (url: string) => Number(new URL(url).port);

test.each(["/", "/metrics/", "/metrics2", "/healthz", "//metrics"])("there is nothing at %s", async (path) => {
  const response = await fetch(new URL(server.url).origin + path);
  expect(response.status).toBe(404);
  expect(await response.text()).toBe("metrics are at /metrics\n");
});

test("metrics are there to be read, and not to be written", async () => {
  expect((await fetch(server.url)).status).toBe(200);
  expect((await fetch(`${server.url}?a=b`)).status).toBe(200);
  const response = await fetch(server.url, { method: "POST", body: "x" });
  expect(response.status).toBe(405);
  expect(response.headers.get("allow")).toBe("GET, HEAD");
});

test("a reader is told that metrics cannot be read, and not why", async () => {
  registry.metrics = () => Promise.reject(new Error("a secret"));
  const response = await fetch(server.url);
  expect(response.status).toBe(500);
  expect(await response.text()).not.toContain("secret");
});

test("a port in use is one clear line", async () => {
  const port = portOf(server.url);
  const error = await rejectionOf(new MetricsServer({ ...endpoint, port }, registry, logger).start());
  expect(error).toMatchObject({ code: "refused" });
  expect(error.message).toMatch(
    /^cannot serve metrics at http:\/\/127\.0\.0\.1:\d+: .*EADDRINUSE.*: choose another [^\n]+$/,
  );
});

test("a stop does not wait for a caller who says nothing", async () => {
  const silent = connect(portOf(server.url), endpoint.host);
  await new Promise((resolve) => silent.once("connect", resolve));
  await fetch(server.url);
  const closed = new Promise((resolve) => silent.once("close", resolve));
  await server.stop();
  await closed;
  await server.start();
});

test("an address of IPv6 is told in brackets", () => {
  expect(formatEndpoint({ host: "::1", port: 1 })).toBe("http://[::1]:1");
});
