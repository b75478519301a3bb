import { join } from "node:path";

/** Keys of the two checkers; they are in the names of their marks. */
export const rawKey = 1;
export const fileKey = 2;
/** Set when file systems, images and devices are in place, and before the load. */
export const readyMark = "ready";
export const fileName = "checked";

/** Where everything of one run lies. The pool's disk holds the engine's state too, so that it is put to the test as well. */
export interface Layout {
  disk: string;
  log: string;
  replica: string;
  store: string;
  poolMount: string;
  images: string;
  engineDirectory: string;
  volumeMount: string;
  rawEvents: string;
  fileEvents: string;
}

export function createLayout(root: string, resultsPath: string, [disk, log, replica, store]: string[]): Layout {
  if (disk === undefined || log === undefined || replica === undefined || store === undefined) {
    throw new Error("four disks are needed: of the pool, its log, its replica, and what is changed on that");
  }
  const poolMount = join(root, "pool");
  return {
    ...{ disk, log, replica, store, poolMount },
    images: join(poolMount, "images"),
    engineDirectory: join(poolMount, "engine"),
    volumeMount: join(root, "volume"),
    rawEvents: join(resultsPath, "raw.events"),
    fileEvents: join(resultsPath, "file.events"),
  };
}
