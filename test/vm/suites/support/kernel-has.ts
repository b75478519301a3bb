import { loadLibrary } from "./library.js";

/** Whether the running kernel's ublk driver has a feature, by its name in the library. */
export async function kernelHas(name: string): Promise<boolean> {
  const { getFeatures } = await loadLibrary();
  return (await getFeatures()).some((feature) => feature.name === name);
}
