import type { MethodDefinition } from "@grpc/grpc-js";
import { createDriver, type Driver, type DriverParts } from "../driver.js";
import {
  VolumeCapability_AccessMode_Mode as Mode,
  type VolumeCapability as ProtoCapability,
  type Snapshot,
  type Volume,
} from "../gen/csi/csi.js";
import { RpcClient, rpcs } from "./rpc-client.js";
import { mebibyte, Workspace } from "./workspace.js";

export const accessMode = { mode: Mode.SINGLE_NODE_WRITER };
export const mount = { fsType: "ext4", mountFlags: [] as string[], volumeMountGroup: "" };
export const mountCapability: ProtoCapability = { accessType: { $case: "mount", value: mount }, accessMode };
export const blockCapability: ProtoCapability = { accessType: { $case: "block", value: {} }, accessMode };
export const range = { requiredBytes: 2n * mebibyte, limitBytes: 0n };

/** The whole driver over a workspace of fakes, on a socket, and a client that calls it. */
export class DriverRig {
  readonly client: RpcClient;
  private driver: Driver | undefined;

  private constructor(readonly workspace: Workspace) {
    this.client = new RpcClient(this.socketPath);
  }

  /** `choose` says what is not as in `DriverParts` by default. */
  static async start(choose: (workspace: Workspace) => Partial<DriverParts> = () => ({})): Promise<DriverRig> {
    const rig = new DriverRig(await Workspace.create());
    await rig.serve(choose(rig.workspace));
    return rig;
  }

  get socketPath(): string {
    return this.workspace.path("csi.sock");
  }

  /** Ends all there is. */
  async remove(): Promise<void> {
    this.client.close();
    await this.driver?.stop(1_000);
    await this.workspace.remove();
  }

  /** Creates a volume that can be created. */
  async createVolume(name = "data", capability = mountCapability): Promise<Volume> {
    const request = { name, capacityRange: range, volumeCapabilities: [capability] };
    return answered((await this.call(rpcs.createVolume, request)).volume);
  }

  /** Takes a snapshot that can be taken. */
  async createSnapshot(sourceVolumeId: string, name = "snap"): Promise<Snapshot> {
    return answered((await this.call(rpcs.createSnapshot, { sourceVolumeId, name })).snapshot);
  }

  /** Makes a call that has to succeed. */
  async call<Request, Response>(
    method: MethodDefinition<Request, Response>,
    request: Partial<Request>,
  ): Promise<Response> {
    const { code, message, response } = await this.client.call(method, request);
    if (response === undefined) throw new Error(`${method.path} answered ${code}: ${message}`);
    return response;
  }

  private async serve(chosen: Partial<DriverParts>): Promise<void> {
    const { pools, blockDevices, snapshots, mounter, filesystems, logger } = this.workspace;
    const fakes = { pools, blockDevices, snapshots, mounter, filesystems, logger };
    const settings = {
      socketPath: this.socketPath,
      kubeletDir: this.workspace.path("targets"),
      volumeCountMax: 7n,
      checkHealth: () => this.workspace.pools.checkHealth(),
    };
    const identity = { driverName: "csi.ublk.io", version: "1.2.3", nodeId: "node-a" };
    this.driver = createDriver(identity, { ...fakes, ...settings, ...chosen });
    await this.driver.start();
  }
}

function answered<T>(value: T | undefined): T {
  if (value === undefined) throw new Error("the driver answered without what was asked for");
  return value;
}
