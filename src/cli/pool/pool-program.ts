import { basename, resolve } from "node:path";
import { type Command, Option } from "commander";
import type { Environment, NodeFlags } from "../../config.js";
import { isVolumeId } from "../../pools/volume/volume-id.js";
import { addPlaceFlags } from "../place-flags.js";
import { ConfigError, parseByteSize } from "../values.js";
import { imageFormats, type PoolCommand, type PoolPlace } from "./pool-command.js";
import { type PlaceFlags, readPlace } from "./read-place.js";

interface ImportFlags {
  format?: "raw" | "qcow2";
  into?: string;
  name?: string;
  provisioning: "thick" | "thin";
  size?: string;
  access?: "block" | "mount";
  storageClass: string;
}

export interface PoolProgramParts {
  environment: Environment;
  run: (command: PoolCommand) => Promise<void>;
}

/** Adds `pool` and its commands to the program. */
export function addPoolCommands(program: Command, { environment, run }: PoolProgramParts): void {
  const pool = program
    .command("pool")
    .description("Look at pools, check and repair them, adopt them, and bring images in and out.");
  pool.allowExcessArguments().action(() => {
    const [given] = pool.args;
    const choice = "list, check, adopt, import or export";
    pool.error(given === undefined ? `a command is missing: give ${choice}` : `unknown command 'pool ${given}'`);
  });
  const add: AddCommand = (command, toVerb) => {
    const pools: NodeFlags["pools"] = [];
    addPlaceFlags(command, pools).option("--json", "print JSON");
    command.allowExcessArguments(false).action(async () => {
      const flags = command.opts();
      const place = await readPlace(flags as PlaceFlags, pools, environment);
      const verb = toVerb(command.processedArgs as string[], flags as never, place);
      await run({ place, isJson: flags.json === true, ...verb } as PoolCommand);
    });
  };
  addInspection(pool, add);
  addAdopt(pool, add);
  addImport(pool, add);
  addExport(pool, add);
}

type DistributiveOmit<T, Key extends PropertyKey> = T extends unknown ? Omit<T, Key> : never;

/** Adds the flags that say where the pools are; `toVerb` makes of a command's own arguments what is to be done. */
type AddCommand = <Flags extends object>(
  command: Command,
  toVerb: (args: string[], flags: Flags, place: PoolPlace) => DistributiveOmit<PoolCommand, "place" | "isJson">,
) => void;

function addInspection(pool: Command, add: AddCommand): void {
  add(pool.command("list").description("Show the pools, and what they hold."), () => ({ verb: "list" }));

  add<{ repair?: boolean; remove: string[] }>(
    pool
      .command("check")
      .description("Look for what is wrong in pools. Changes nothing unless told to.")
      .option("--repair", "remove temporary files and empty folders that a crash left")
      .option("--remove <id>", "remove this damaged volume or snapshot with its data; repeatable", collect, []),
    (_args, { repair = false, remove }) => ({ verb: "check", repair, removeIds: remove.map(checkId) }),
  );
}

function addAdopt(pool: Command, add: AddCommand): void {
  add<{ replace?: boolean }>(
    pool
      .command("adopt")
      .description("Make a pool this node's: after the node was renamed, or its disk moved.")
      .argument("<name>", "the pool's name")
      .option(
        "--replace",
        "even if the name stood for another pool before, whose volumes are then gone from this node",
      ),
    ([name = ""], { replace = false }, place) => ({ verb: "adopt", poolName: knownPool(name, place), replace }),
  );
}

function addImport(pool: Command, add: AddCommand): void {
  add<ImportFlags>(
    pool
      .command("import")
      .description("Make a volume from an image file, and print a PersistentVolume for it.")
      .argument("<file>", "a raw or qcow2 image")
      .addOption(new Option("--format <format>", "default: what the file says").choices(imageFormats))
      .option("--into <pool>", "name of the pool; default: the first one")
      .option("--name <name>", "name of the volume, unique on this node; default: import- and the file's name")
      .addOption(new Option("--provisioning <way>").choices(["thick", "thin"]).default("thick"))
      .option("--size <size>", "size of the volume, such as 20Gi; default: that of the image")
      .addOption(
        new Option("--access <way>", "default: mount, if there is an ext4, xfs or btrfs in it").choices([
          "mount",
          "block",
        ]),
      )
      .option("--storage-class <name>", "of the PersistentVolume", ""),
    ([file = ""], flags, place) => ({
      verb: "import",
      sourcePath: resolve(file),
      format: flags.format,
      poolName: flags.into === undefined ? undefined : knownPool(flags.into, place),
      name: checkName(flags.name ?? nameOf(file)),
      provisioning: flags.provisioning,
      sizeBytes: flags.size === undefined ? undefined : parseByteSize("--size", flags.size),
      access: flags.access,
      storageClassName: flags.storageClass,
    }),
  );
}

function addExport(pool: Command, add: AddCommand): void {
  add<{ format: "raw" | "qcow2" }>(
    pool
      .command("export")
      .description("Write the image of a volume that is not in use, or of a snapshot, to a new file.")
      .argument("<id>", "id of a volume or a snapshot")
      .argument("<file>", "the file to make")
      .addOption(new Option("--format <format>").choices(imageFormats).default("raw")),
    ([id = "", file = ""], { format }) => ({ verb: "export", id: checkId(id), targetPath: resolve(file), format }),
  );
}

function knownPool(name: string, { pools }: PoolPlace): string {
  const names = pools.map((pool) => pool.name);
  if (names.includes(name)) return name;
  throw new ConfigError(`pool "${name}" is unknown, the flags and the file have ${names.join(", ")}`);
}

function checkId(id: string): string {
  if (isVolumeId(id)) return id;
  throw new ConfigError(
    `"${id}" is not an id of a volume or a snapshot: those have a-z, 0-9 and -, as "pool list" says`,
  );
}

const nameForm = "1 to 63 lower-case letters, digits, '.' or '-', the first and last a letter or digit";

// The name becomes that of a PersistentVolume.
function checkName(name: string): string {
  if (/^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$/.test(name)) return name;
  throw new ConfigError(`--name "${name}" must be ${nameForm}`);
}

function nameOf(file: string): string {
  const plain = basename(file)
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-+/, "");
  return `import-${plain}`.slice(0, 63).replace(/-+$/, "");
}

const collect = (value: string, before: string[]): string[] => [...before, value];
