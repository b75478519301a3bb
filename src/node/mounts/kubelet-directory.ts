import { lstat } from "node:fs/promises";
import { join } from "node:path";
import { DriverError, hasErrno } from "../../errors.js";
import { requirePath } from "../../rpc/required.js";

/**
 * The directory below which kubelet has everything mounted. A path from outside has to lie in it, by name and on disk:
 * whoever could name another one, or lead there by a link, could have a file system mounted over /etc.
 */
export class KubeletDirectory {
  constructor(private readonly path: string) {}

  /** The path of a request, checked. The directory itself may be reached through links; below it nothing may be one. */
  async confine(name: string, value: string): Promise<string> {
    const path = requirePath(name, value);
    if (!path.startsWith(`${this.path}/`)) {
      const remedy = "start the driver with kubelet's own directory as --kubelet-dir";
      throw new DriverError("invalid", `${name} "${value}" must lie below ${this.path}: if it does not, ${remedy}`);
    }
    const names = path.slice(this.path.length + 1).split("/");
    for (const depth of names.keys()) {
      if (!(await this.isPlain(name, join(this.path, ...names.slice(0, depth + 1))))) break;
    }
    return path;
  }

  /** False when there is no such place, or one that cannot be looked at: what is behind it can be no link. */
  private async isPlain(name: string, path: string): Promise<boolean> {
    try {
      if (!(await lstat(path)).isSymbolicLink()) return true;
    } catch (error) {
      if (hasErrno(error, ...unreachable)) return false;
      throw error;
    }
    const remedy = "mount the directory there instead of linking to it";
    throw new DriverError(
      "invalid",
      `${name} leads through the symbolic link ${path}, which is not followed: ${remedy}`,
    );
  }
}

/** Nothing there, too long a name, or a mount whose device is gone. */
const unreachable = ["ENOENT", "ENOTDIR", "ENAMETOOLONG", "EIO", "ENOTCONN", "ESTALE", "ENXIO", "ENODEV"];
