import { mkdir, symlink } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { rejectionOf, Workspace } from "../../testing/workspace.js";
import { KubeletDirectory } from "./kubelet-directory.js";

let workspace: Workspace;
let kubelet: KubeletDirectory;

beforeEach(async () => {
  workspace = await Workspace.create();
  kubelet = new KubeletDirectory(await workspace.makeDirectory("kubelet"));
});
afterEach(async () => await workspace.remove());

const confine = (path: string) => kubelet.confine("target_path", path);

describe("a path below kubelet's directory", () => {
  test("is taken, with what exists of it and what does not, in its shortest form", async () => {
    await workspace.makeDirectory("kubelet", "pods");
    const path = workspace.path("kubelet", "pods", "uid", "mount");
    expect(await confine(`${workspace.path("kubelet")}//pods/./uid/mount/`)).toBe(path);
  });

  test("is taken when kubelet's directory itself is reached by a link", async () => {
    await symlink(workspace.path("kubelet"), workspace.path("link"));
    const linked = new KubeletDirectory(workspace.path("link"));
    expect(await linked.confine("target_path", workspace.path("link", "a"))).toBe(workspace.path("link", "a"));
  });

  test.each([
    ["at its end", ["link"]],
    ["on its way", ["link", "etc"]],
  ])("is refused for a link %s, and the link is named", async (_where, rest) => {
    await mkdir(workspace.path("outside"));
    await symlink(workspace.path("outside"), workspace.path("kubelet", "link"));
    const error = await rejectionOf(confine(workspace.path("kubelet", ...rest)));
    expect(error).toMatchObject({ code: "invalid", message: /symbolic link .*kubelet\/link, which is not followed/ });
  });
});

test.each(["/etc", "/", "/var/lib/kubelet-other/x"])("%s is refused: it lies elsewhere", async (path) => {
  const error = await rejectionOf(confine(path));
  expect(error).toMatchObject({ code: "invalid", message: /must lie below .*--kubelet-dir/ });
});

test("kubelet's directory itself is no place for a volume, nor is one with the same begin", async () => {
  for (const path of [workspace.path("kubelet"), workspace.path("kubelet2", "a")]) {
    expect(await rejectionOf(confine(path))).toMatchObject({ code: "invalid" });
  }
});

test("a way up is refused whatever it leads to", async () => {
  const path = `${workspace.path("kubelet")}/pods/../pods`;
  expect(await rejectionOf(confine(path))).toMatchObject({ code: "invalid", message: /without "\.\."/ });
});
