import { createControllerService } from "./controller/controller-service.js";
import type { BlockDevices } from "./engine/block-devices.js";
import {
  type ControllerServer,
  ControllerService,
  type IdentityServer,
  IdentityService,
  type NodeServer,
  NodeService,
} from "./gen/csi/csi.js";
import { createIdentityService } from "./identity/identity-service.js";
import type { Logger } from "./log.js";
import { type DeviceMapping, noMapping } from "./node/device-mapping.js";
import type { Filesystems } from "./node/filesystems/filesystems.js";
import type { Mounter } from "./node/mounter.js";
import { createNodeService } from "./node/node-service.js";
import { VolumeDevices } from "./node/volume-devices.js";
import type { Pools } from "./pools/pools.js";
import { VolumeExpander } from "./pools/volume-expander.js";
import { VolumeProvisioner } from "./pools/volume-provisioner.js";
import { createChain, defaultChainOptions } from "./rpc/chain.js";
import { SocketServer } from "./rpc/server.js";
import { implementService } from "./rpc/service.js";
import { NodeTopology } from "./rpc/topology.js";

export interface DriverIdentity {
  driverName: string;
  version: string;
  nodeId: string;
}

export interface DriverParts {
  socketPath: string;
  volumeCountMax: bigint;
  pools: Pools;
  blockDevices: BlockDevices;
  mounter: Mounter;
  filesystems: Filesystems;
  /** Default: none. */
  mapping?: DeviceMapping;
  checkHealth: () => Promise<void>;
  logger: Logger;
}

/** Puts the three services of a node together on one socket. It serves from `start()` on. */
export function createDriver({ driverName, version, nodeId }: DriverIdentity, parts: DriverParts): SocketServer {
  const { pools, blockDevices, logger } = parts;
  const topology = new NodeTopology(driverName, nodeId);
  const provisioner = new VolumeProvisioner(pools, blockDevices);
  const expander = new VolumeExpander(pools, blockDevices);
  const identity = createIdentityService({
    driverName,
    version,
    checkHealth: parts.checkHealth,
    canExpandOnline: async () => (await blockDevices.capabilities()).onlineResize,
  });
  const controller = createControllerService({ provisioner, expander, pools, topology });
  const devices = new VolumeDevices({ mapping: noMapping, ...parts });
  const node = createNodeService({ ...parts, devices }, { nodeId, topology, volumeCountMax: parts.volumeCountMax });

  const findVolumeName = (volumeId: string) => pools.peekVolume(volumeId)?.name;
  const options = { wrap: createChain({ ...defaultChainOptions, findVolumeName }), logger };
  const services = [
    {
      definition: IdentityService,
      implementation: implementService<IdentityServer>(IdentityService, identity, options),
    },
    {
      definition: ControllerService,
      implementation: implementService<ControllerServer>(ControllerService, controller, options),
    },
    { definition: NodeService, implementation: implementService<NodeServer>(NodeService, node, options) },
  ];
  return new SocketServer(parts.socketPath, services, logger);
}
