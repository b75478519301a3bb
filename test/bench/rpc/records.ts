import { randomUUID } from "node:crypto";
import { mkdir, open, writeFile } from "node:fs/promises";
import { join } from "node:path";

const sizeBytes = 1024 ** 2;

/** Puts so many thin volumes into a pool whose driver does not run, as if they had been created. */
export async function plantVolumes(poolPath: string, count: number): Promise<void> {
  for (let index = 0; index < count; index++) await plantVolume(join(poolPath, "volumes"), index);
}

async function plantVolume(volumesPath: string, index: number): Promise<void> {
  const id = randomUUID();
  const record = {
    formatVersion: 1,
    id,
    name: `planted-${index}`,
    sizeBytes: String(sizeBytes),
    pool: "disk",
    parameters: { pool: "disk", provisioning: "thin", logicalBlockSizeBytes: 512 },
    capabilities: [{ accessType: "block", accessMode: "SINGLE_NODE_WRITER" }],
    createdAt: new Date().toISOString(),
  };
  await mkdir(join(volumesPath, id));
  const image = await open(join(volumesPath, id, "image"), "wx");
  await image.truncate(sizeBytes);
  await image.close();
  await writeFile(join(volumesPath, id, "volume.json"), JSON.stringify(record));
}
