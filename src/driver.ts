import { createControllerService } from "./controller/controller-service.js";
import { createGroupControllerService } from "./controller/group-controller-service.js";
import { createSnapshotMetadataService } from "./controller/snapshot-metadata-service.js";
import { createSnapshotHandlers } from "./controller/snapshot-service.js";
import type { BlockDevices } from "./engine/block-devices.js";
import {
  type ControllerServer,
  ControllerService,
  type GroupControllerServer,
  GroupControllerService,
  type IdentityServer,
  IdentityService,
  type NodeServer,
  NodeService,
  type SnapshotMetadataServer,
  SnapshotMetadataService,
} from "./gen/csi/csi.js";
import { IoErrorHistory } from "./health/io-error-history.js";
import { VolumeHealth } from "./health/volume-health.js";
import { createIdentityService } from "./identity/identity-service.js";
import type { Logger } from "./log.js";
import { EphemeralVolumes } from "./node/ephemeral-volumes.js";
import type { Filesystems } from "./node/filesystems/filesystems.js";
import { LeftoverCollector } from "./node/leftover-collector.js";
import { type DeviceMapping, noMapping } from "./node/mounts/device-mapping.js";
import type { Mounter } from "./node/mounts/mounter.js";
import type { NodeDependencies } from "./node/node-dependencies.js";
import { createNodeService } from "./node/node-service.js";
import { TrimSchedule } from "./node/trim-schedule.js";
import { VolumeDevices } from "./node/volume-devices.js";
import { type TrimTotals, VolumeTrimmer } from "./node/volume-trimmer.js";
import { defaultEphemeralRules, type EphemeralRules } from "./pools/parameters/ephemeral-rules.js";
import type { PoolWatch } from "./pools/pool/pool-watch.js";
import type { Pools } from "./pools/pool/pools.js";
import { type RunLocked, VolumeContents } from "./pools/provisioning/volume-content.js";
import { VolumeExpander } from "./pools/provisioning/volume-expander.js";
import { VolumeModifier } from "./pools/provisioning/volume-modifier.js";
import { VolumeProvisioner } from "./pools/provisioning/volume-provisioner.js";
import type { Snapshots } from "./pools/snapshots/open-snapshots.js";
import { SnapshotGroups } from "./pools/snapshots/snapshot-groups.js";
import { Snapshotter } from "./pools/snapshots/snapshotter.js";
import { createChain, defaultChainOptions, lockWaitMsMax } from "./rpc/chain.js";
import { KeyedLock } from "./rpc/keyed-lock.js";
import type { FindName } from "./rpc/locking.js";
import type { ObserveCall } from "./rpc/observation.js";
import { SocketServer } from "./rpc/server.js";
import { implementService } from "./rpc/service.js";
import { createStreamChain } from "./rpc/stream-chain.js";
import { NodeTopology } from "./rpc/topology.js";
import { endsWithin } from "./system/within.js";

export interface DriverIdentity {
  driverName: string;
  version: string;
  nodeId: string;
}

export interface DriverParts {
  socketPath: string;
  volumeCountMax: bigint;
  /** Everything is staged and published below it. */
  kubeletDir: string;
  pools: Pools;
  snapshots: Snapshots;
  blockDevices: BlockDevices;
  mounter: Mounter;
  filesystems: Filesystems;
  /** Default: none. */
  mapping?: DeviceMapping;
  /** What pods may have as inline volumes. Default: `defaultEphemeralRules`. */
  ephemeralRules?: EphemeralRules | undefined;
  checkHealth: () => Promise<void>;
  /** What is known of the fill of pools. Default: nothing. */
  poolWatch?: PoolWatch | undefined;
  /** What requests of devices have failed with. Default: from now on. */
  ioErrors?: IoErrorHistory | undefined;
  /** Counted up by trims. */
  trimTotals?: TrimTotals | undefined;
  /** Told of each call. */
  observeCall?: ObserveCall | undefined;
  logger: Logger;
}

/** Serves until it is stopped. */
export interface Driver {
  start(): Promise<void>;
  /**
   * Begins nothing more, and gives so much time to what is under way, which is more than the calls: work goes on when the
   * deadline of its call has passed. False when there is still some, which may yet write to the pools.
   */
  stop(waitMsMax: number): Promise<boolean>;
}

/** Puts the three services of a node together on one socket. It serves from `start()` on. */
export function createDriver({ driverName, version, nodeId }: DriverIdentity, parts: DriverParts): Driver {
  const { pools, blockDevices, snapshots, logger } = parts;
  const { index } = snapshots.store;
  const lock = new KeyedLock(lockWaitMsMax);
  const topology = new NodeTopology(driverName, nodeId);
  const runLocked: RunLocked = (keys, work) => lock.run(keys, work);
  const contents = new VolumeContents({ ...snapshots, pools, blockDevices, runLocked });
  const provisioner = new VolumeProvisioner(pools, blockDevices, contents);
  const expander = new VolumeExpander(pools, blockDevices);
  const modifier = new VolumeModifier(pools, blockDevices);
  const identity = createIdentityService({
    driverName,
    version,
    checkHealth: parts.checkHealth,
    canExpandOnline: async () => (await blockDevices.capabilities()).onlineResize,
  });
  const { poolWatch, observeCall, ioErrors = new IoErrorHistory(blockDevices) } = parts;
  const health = new VolumeHealth({ pools, blockDevices, poolWatch, ioErrors });
  const snapshotterParts = { ...snapshots, pools };
  const controller = {
    ...createControllerService({ provisioner, expander, modifier, pools, health, topology }),
    ...createSnapshotHandlers({ snapshotter: new Snapshotter(snapshotterParts), index, topology }),
  };
  const groups = new SnapshotGroups(snapshotterParts);
  const groupController = createGroupControllerService({ groups, topology });
  const snapshotMetadata = createSnapshotMetadataService({
    ...snapshots,
    getSnapshotImage: (snapshotId) => snapshots.store.getImage(snapshotId),
  });
  const dependencies = toNodeDependencies(parts);
  const ephemeral = new EphemeralVolumes(dependencies, parts.ephemeralRules ?? defaultEphemeralRules);
  const node = createNodeService(dependencies, { ...parts, nodeId, topology, ephemeral, health });
  const trimSchedule = new TrimSchedule(dependencies);
  const leftovers = new LeftoverCollector({ ...parts, ephemeral, runLocked });

  const findName: FindName = (kind, id) => (kind === "volume" ? pools.peekVolume(id)?.name : index.peekName(id));
  const options = {
    wrap: createChain({ ...defaultChainOptions, lock, findName, observeCall }),
    wrapStream: createStreamChain(observeCall),
    logger,
  };
  const services = [
    {
      definition: IdentityService,
      implementation: implementService<IdentityServer>(IdentityService, identity, options),
    },
    {
      definition: ControllerService,
      implementation: implementService<ControllerServer>(ControllerService, controller, options),
    },
    {
      definition: GroupControllerService,
      implementation: implementService<GroupControllerServer>(GroupControllerService, groupController, options),
    },
    {
      definition: SnapshotMetadataService,
      implementation: implementService<SnapshotMetadataServer>(SnapshotMetadataService, snapshotMetadata, options),
    },
    { definition: NodeService, implementation: implementService<NodeServer>(NodeService, node, options) },
  ];
  const server = new SocketServer(parts.socketPath, services, logger);
  return {
    start: async () => {
      await leftovers.collect();
      await server.start();
      leftovers.start();
      trimSchedule.start();
    },
    stop: async (waitMsMax) => {
      const endMs = Date.now() + waitMsMax;
      const passes = Promise.all([trimSchedule.stop(waitMsMax), leftovers.stop(waitMsMax)]);
      await server.stop(waitMsMax);
      const isIdle = await endsWithin(Math.max(0, endMs - Date.now()), lock.whenIdle());
      return isIdle && (await passes).every((isOver) => isOver);
    },
  };
}

function toNodeDependencies(parts: DriverParts): NodeDependencies {
  const devices = new VolumeDevices({ mapping: noMapping, ...parts });
  return { ...parts, devices, trimmer: new VolumeTrimmer(parts, parts.trimTotals) };
}
