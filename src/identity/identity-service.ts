import { type IdentityServer, PluginCapability_Service_Type as ServiceType } from "../gen/csi/csi.js";
import type { Handlers } from "../rpc/handler.js";

export interface IdentityOptions {
  driverName: string;
  version: string;
  /** Throws with the reason when the driver cannot do its work. */
  checkHealth: () => Promise<void>;
}

/** Who the driver is, which services it has, and whether it works. */
export function createIdentityService(options: IdentityOptions): Handlers<IdentityServer> {
  const services = [ServiceType.CONTROLLER_SERVICE, ServiceType.VOLUME_ACCESSIBILITY_CONSTRAINTS];
  return {
    getPluginInfo: async () => ({ name: options.driverName, vendorVersion: options.version, manifest: {} }),
    getPluginCapabilities: async () => ({
      capabilities: services.map((type) => ({ type: { $case: "service", value: { type } } })),
    }),
    probe: async () => {
      await options.checkHealth();
      return { ready: true };
    },
  };
}
