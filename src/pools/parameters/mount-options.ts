import { DriverError } from "../../errors.js";
import { type FsType, fsTypes } from "../volume/volume.js";

/** Options of mount(8): by name, what may follow after "="; null stands for nothing, and both may be allowed. */
type Rules = Readonly<Record<string, ReadonlyArray<RegExp | null>>>;

const alone = [null];
const number = [/^[0-9]{1,9}$/];
const flags = (...names: string[]): Rules => Object.fromEntries(names.map((name) => [name, alone]));
const numbers = (...names: string[]): Rules => Object.fromEntries(names.map((name) => [name, number]));

// Labels may hold commas, in quotes; see "SELinux" in mount(8).
const label = [/^("[^"]+"|[^"]+)$/];

const generic: Rules = {
  ...flags("defaults", "ro", "rw", "sync", "async", "dirsync", "exec", "noexec", "suid", "nosuid", "dev", "nodev"),
  ...flags("atime", "noatime", "diratime", "nodiratime", "relatime", "norelatime", "strictatime", "nostrictatime"),
  ...flags("lazytime", "nolazytime", "iversion", "noiversion", "nosymfollow"),
  ...{ context: label, fscontext: label, defcontext: label, rootcontext: label },
};

const byType: Readonly<Record<FsType, Rules>> = {
  ext4: {
    ...flags("acl", "noacl", "user_xattr", "nouser_xattr", "discard", "nodiscard", "delalloc", "nodelalloc"),
    ...flags("quota", "noquota", "usrquota", "grpquota", "prjquota", "grpid", "nogrpid", "bsdgroups", "sysvgroups"),
    ...flags("block_validity", "noblock_validity", "dioread_lock", "dioread_nolock", "noinit_itable"),
    ...flags("journal_checksum", "nojournal_checksum", "auto_da_alloc", "noauto_da_alloc"),
    ...numbers("commit", "stripe", "max_batch_time", "min_batch_time", "journal_ioprio", "inode_readahead_blks"),
    ...numbers("max_dir_size_kb"),
    init_itable: [null, /^[0-9]{1,9}$/],
    data: [/^(ordered|journal|writeback)$/],
    errors: [/^(continue|remount-ro)$/],
  },
  xfs: {
    ...flags("discard", "nodiscard", "largeio", "nolargeio", "inode32", "inode64", "swalloc", "noalign", "wsync"),
    ...flags("filestreams", "grpid", "nogrpid", "bsdgroups", "sysvgroups", "attr2"),
    ...flags("quota", "uquota", "usrquota", "gquota", "grpquota", "pquota", "prjquota", "noquota"),
    ...flags("qnoenforce", "uqnoenforce", "gqnoenforce", "pqnoenforce"),
    ...numbers("logbufs", "sunit", "swidth"),
    allocsize: [/^[0-9]{1,10}[kKmMgG]?$/],
    logbsize: [/^[0-9]{1,6}[kK]?$/],
  },
  btrfs: {
    ...flags("acl", "noacl", "autodefrag", "noautodefrag", "datacow", "nodatacow", "datasum", "nodatasum"),
    ...flags("nodiscard", "flushoncommit", "noflushoncommit", "ssd", "nossd", "ssd_spread", "nossd_spread"),
    ...flags("treelog", "notreelog", "skip_balance", "user_subvol_rm_allowed"),
    ...numbers("commit", "metadata_ratio", "thread_pool"),
    compress: [null, /^(no|lzo|(zlib|zstd)(:[0-9]{1,2})?)$/],
    "compress-force": [null, /^(no|lzo|(zlib|zstd)(:[0-9]{1,2})?)$/],
    discard: [null, /^(sync|async)$/],
    max_inline: [/^[0-9]{1,6}[kK]?$/],
    space_cache: [/^v2$/],
  },
};

const otherMount = "it would change what is mounted";
const otherDevice = "a volume has no second device";
const unsafe = "acknowledged writes could be lost";
const noReplay = "without its log a file system shows old data";

/** Why those that people try are not allowed. */
const reasons: Readonly<Record<string, string>> = {
  ...Object.fromEntries(["bind", "rbind", "move", "remount", "loop", "offset"].map((name) => [name, otherMount])),
  ...Object.fromEntries(["subvol", "subvolid", "sb"].map((name) => [name, otherMount])),
  ...Object.fromEntries(["device", "dev", "logdev", "rtdev"].map((name) => [name, otherDevice])),
  ...Object.fromEntries(["journal_dev", "journal_path"].map((name) => [name, otherDevice])),
  ...Object.fromEntries(["barrier", "nobarrier", "journal_async_commit"].map((name) => [name, unsafe])),
  ...Object.fromEntries(["norecovery", "noload", "nologreplay", "rescue"].map((name) => [name, noReplay])),
  nouuid: "it is not needed, clones get a uuid of their own",
};

/**
 * Checks mount options against those of a file system, or of any when the type is not known yet. Returns one option per
 * element. A comma inside double quotes belongs to its option, as in mount(8).
 */
export function parseMountFlags(mountFlags: readonly string[], fsType: FsType | undefined): string[] {
  return mountFlags.flatMap(splitFlag).map((option) => checkOption(option, fsType));
}

function splitFlag(flag: string): string[] {
  const options = flag.match(/(?:[^",]|"[^"]*")+/g) ?? [];
  if (flag !== "" && options.join(",") === flag) return options;
  throw invalid(`mount option "${flag}" cannot be read: give options without empty parts or lone quotes`);
}

function checkOption(option: string, fsType: FsType | undefined): string {
  const candidates = fsType === undefined ? fsTypes : [fsType];
  if (candidates.some((candidate) => isAllowed(option, { ...generic, ...byType[candidate] }))) return option;
  const [name = ""] = option.split("=", 1);
  const subject = `mount option "${option}" is not allowed${fsType === undefined ? "" : ` for ${fsType}`}`;
  const reason = Object.hasOwn(reasons, name) ? reasons[name] : undefined;
  if (reason !== undefined) throw invalid(`${subject}: ${reason}, leave it out`);
  const names = [...new Set(candidates.flatMap((candidate) => Object.keys({ ...generic, ...byType[candidate] })))];
  if (names.includes(name)) throw invalid(`${subject}: "${name}" needs another value, see mount(8)`);
  throw invalid(`${subject}, allowed are ${names.sort().join(", ")}`);
}

function isAllowed(option: string, rules: Rules): boolean {
  const [, name = "", value] = /^([^=]*)(?:=(.*))?$/s.exec(option) ?? [];
  const forms = Object.hasOwn(rules, name) ? rules[name] : [];
  return (forms ?? []).some((form) => (form === null ? value === undefined : value !== undefined && form.test(value)));
}

const invalid = (message: string): DriverError => new DriverError("invalid", message);
