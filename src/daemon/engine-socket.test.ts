import { chmod, mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { EngineSocket } from "./engine-socket.js";

let folder: string;
let servers: Server[];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ublk-socket-"));
  servers = [];
});

afterEach(async () => {
  for (const server of servers) server.close();
  await rm(folder, { recursive: true });
});

const path = (...names: string[]) => join(folder, ...names);

async function bind(socket: EngineSocket): Promise<void> {
  const server = createServer();
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(socket.boundPath, resolve));
}

test("makes its directory for this user alone, and refuses one that others may enter", async () => {
  await new EngineSocket(path("made", "engine.sock")).prepare();
  expect((await stat(path("made"))).mode & 0o777).toBe(0o700);
  await chmod(path("made"), 0o750);
  const message = `${path("made")} has mode 0750, so that others could command the engine: chmod 0700 ${path("made")}`;
  await expect(new EngineSocket(path("made", "engine.sock")).prepare()).rejects.toThrow(message);
});

test("keeps a file that has the name of the socket", async () => {
  await writeFile(path("engine.sock"), "precious");
  await expect(new EngineSocket(path("engine.sock")).prepare()).rejects.toThrow(/is not a socket: choose another/);
  expect(await readdir(folder)).toEqual(["engine.sock"]);
});

test("has the common name from publish to withdraw, and leaves the one of a successor", async () => {
  const socket = new EngineSocket(path("engine.sock"));
  await socket.prepare();
  await bind(socket);
  expect(await readdir(folder)).toEqual([`engine.sock.${process.pid}`]);
  await socket.publish();
  expect(await readdir(folder)).toEqual(["engine.sock"]);
  const successor = new EngineSocket(path("engine.sock"));
  await successor.prepare();
  await bind(successor);
  await successor.publish();
  await socket.withdraw();
  expect(await readdir(folder)).toEqual(["engine.sock"]);
  await successor.withdraw();
  expect(await readdir(folder)).toEqual([]);
});
