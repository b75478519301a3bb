import * as files from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, jest, test } from "@jest/globals";
import type { Workspace } from "../../testing/workspace.js";

/** Paths at and below which nothing can be looked at, and why. */
const broken = new Map<string, string>();

const failing = <Result>(original: (path: string) => Promise<Result>) => {
  return async (path: string, ...rest: []): Promise<Result> => {
    const [, code] = [...broken].find(([top]) => path === top || path.startsWith(`${top}/`)) ?? [];
    if (code !== undefined) throw Object.assign(new Error(`${code}: ${path}`), { code });
    return await original(path, ...rest);
  };
};

const { lstat, realpath, ...others } = files;
const looking = { lstat: failing(lstat as never), realpath: failing(realpath as never) };
jest.unstable_mockModule("node:fs/promises", () => ({ ...others, ...looking, default: { ...others, ...looking } }));
const { KubeletDirectory } = await import("./kubelet-directory.js");
const { VolumePublisher } = await import("../volume-publisher.js");
const { VolumeStager } = await import("../volume-stager.js");
const testing = await import("../../testing/workspace.js");

let workspace: Workspace;
let path: string;

beforeEach(async () => {
  workspace = await testing.Workspace.create();
  path = await workspace.makeDirectory("targets", "pod", "mount");
  const entry = { deviceNumber: "259:0", root: "/", fsType: "ext4", options: ["rw"], superOptions: ["rw"] };
  workspace.mounter.entries.push({ ...entry, mountPoint: path, source: "/dev/ublkb0" });
});

afterEach(async () => {
  broken.clear();
  await workspace.remove();
});

/** What can be looked at again once its mount is gone. */
function breakMount(code: string): void {
  broken.set(path, code);
  const { mounter } = workspace;
  const unmount = mounter.unmount.bind(mounter);
  mounter.unmount = async (target, options) => {
    await unmount(target, options);
    broken.delete(target);
  };
}

describe.each(["EIO", "ENOTCONN"])("a mount that answers %s", (code) => {
  test("is no link, and its path is taken", async () => {
    breakMount(code);
    const kubelet = new KubeletDirectory(workspace.path("targets"));
    expect(await kubelet.confine("target_path", path)).toBe(path);
  });

  test("is unpublished, and its target removed", async () => {
    breakMount(code);
    await new VolumePublisher(workspace).unpublish(path);
    expect(workspace.mounter.entries).toEqual([]);
    await expect(files.lstat(path)).rejects.toMatchObject({ code: "ENOENT" });
  });

  test("on the way to a staging path does not keep that from being unstaged", async () => {
    broken.set(workspace.path("targets", "pod"), code);
    await new VolumeStager(workspace).unstage("unknown-volume", path);
    expect(workspace.mounter.entries).toEqual([]);
  });
});

test("an error that says nothing about a mount is passed on", async () => {
  broken.set(workspace.path("targets", "pod"), "EACCES");
  await expect(new VolumeStager(workspace).unstage("unknown-volume", path)).rejects.toMatchObject({ code: "EACCES" });
  const kubelet = new KubeletDirectory(workspace.path("targets"));
  await expect(kubelet.confine("target_path", path)).rejects.toMatchObject({ code: "EACCES" });
});
