import type { ConfigFile } from "./config-schema.js";

/** As readConfigFile of config-file.ts, whose libraries only load then: a driver that starts after a crash has I/O waiting. */
export async function readConfigFile(path: string): Promise<ConfigFile> {
  const configFile = await import("./config-file.js");
  return await configFile.readConfigFile(path);
}
