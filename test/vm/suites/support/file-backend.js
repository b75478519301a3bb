/** A Backend over a file, for servers in processes of their own. */
import { open } from "node:fs/promises";

export class FileBackend {
  constructor(path, size, handle) {
    this.path = path;
    this.size = size;
    this.handle = handle;
  }

  static async open(path) {
    const handle = await open(path, "r+");
    return new FileBackend(path, BigInt((await handle.stat()).size), handle);
  }

  async readAt(buffer, offset) {
    return (await this.handle.read(buffer, 0, buffer.length, offset)).bytesRead;
  }

  async writeAt(buffer, offset) {
    return (await this.handle.write(buffer, 0, buffer.length, offset)).bytesWritten;
  }

  async flush() {
    await this.handle.datasync();
  }
}

/** Never answers a write, for servers that end with requests in flight. */
export class DeafBackend {
  size = 4n << 20n;

  readAt(buffer) {
    buffer.fill(0);
  }

  writeAt() {
    return new Promise(() => {});
  }
}
