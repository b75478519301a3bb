import {
  PluginCapability_VolumeExpansion_Type as ExpansionType,
  type IdentityServer,
  type PluginCapability,
  PluginCapability_Service_Type as ServiceType,
} from "../gen/csi/csi.js";
import type { Handlers } from "../rpc/handler.js";

export interface IdentityOptions {
  driverName: string;
  version: string;
  /** Throws with the reason when the driver cannot do its work. */
  checkHealth: () => Promise<void>;
  /** Whether volumes can grow while they are used. */
  canExpandOnline: () => Promise<boolean>;
}

/** Who the driver is, which services it has, and whether it works. */
export function createIdentityService(options: IdentityOptions): Handlers<IdentityServer> {
  const services = [
    ServiceType.CONTROLLER_SERVICE,
    ServiceType.VOLUME_ACCESSIBILITY_CONSTRAINTS,
    ServiceType.GROUP_CONTROLLER_SERVICE,
    ServiceType.SNAPSHOT_METADATA_SERVICE,
    ServiceType.SNAPSHOT_ACCESSIBILITY_CONSTRAINTS,
  ];
  return {
    getPluginInfo: async () => ({ name: options.driverName, vendorVersion: options.version, manifest: {} }),
    getPluginCapabilities: async () => {
      const expansion = (await options.canExpandOnline()) ? ExpansionType.ONLINE : ExpansionType.OFFLINE;
      return { capabilities: [...services.map(toServiceCapability), toExpansionCapability(expansion)] };
    },
    probe: async () => {
      await options.checkHealth();
      return { ready: true };
    },
  };
}

function toServiceCapability(type: ServiceType): PluginCapability {
  return { type: { $case: "service", value: { type } } };
}

function toExpansionCapability(type: ExpansionType): PluginCapability {
  return { type: { $case: "volumeExpansion", value: { type } } };
}
