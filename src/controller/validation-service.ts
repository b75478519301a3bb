import { DriverError, toMessage } from "../errors.js";
import type {
  ControllerServer,
  Volume as ProtoVolume,
  ValidateVolumeCapabilitiesRequest,
  ValidateVolumeCapabilitiesResponse,
} from "../gen/csi/csi.js";
import { listDifferent } from "../pools/parameters/parameter-values.js";
import type { Pools } from "../pools/pool/pools.js";
import { explainDifference } from "../pools/provisioning/volume-comparison.js";
import type { Volume } from "../pools/volume/volume.js";
import type { Handlers } from "../rpc/handler.js";
import { requireVolumeId } from "../rpc/required.js";
import { fromProtoCapabilities } from "../rpc/volume-capability.js";

export interface ValidationDependencies {
  pools: Pools;
  toProto: (volume: Volume) => ProtoVolume;
}

/** The controller's RPC that compares what a caller believes of a volume with what it is. */
export function createValidationHandlers(
  dependencies: ValidationDependencies,
): Pick<Handlers<ControllerServer>, "validateVolumeCapabilities"> {
  return { validateVolumeCapabilities: async (request) => validate(request, dependencies) };
}

// All that was asked is confirmed, or nothing: an answer about a part of it would be taken for one about the whole.
function validate(
  request: ValidateVolumeCapabilitiesRequest,
  { pools, toProto }: ValidationDependencies,
): ValidateVolumeCapabilitiesResponse {
  const volumeId = requireVolumeId(request.volumeId);
  if (request.volumeCapabilities.length === 0) throw new DriverError("invalid", "volume_capabilities is empty");
  const volume = pools.getVolume(volumeId);
  const message = explainContext(toProto(volume), request) ?? explainClaims(volume, request);
  if (message !== undefined) return { confirmed: undefined, message };
  const { volumeContext, volumeCapabilities, parameters, mutableParameters } = request;
  return { confirmed: { volumeContext, volumeCapabilities, parameters, mutableParameters }, message: "" };
}

function explainContext(
  { volumeId, volumeContext }: ProtoVolume,
  asked: ValidateVolumeCapabilitiesRequest,
): string | undefined {
  if (Object.keys(asked.volumeContext).length === 0) return undefined;
  const others = listDifferent(volumeContext, asked.volumeContext);
  return others.length === 0 ? undefined : `volume ${volumeId} has another volume_context: ${others.join(", ")}`;
}

// A capability or a parameter that no volume has is a "no" here, and not an error.
function explainClaims(volume: Volume, request: ValidateVolumeCapabilitiesRequest): string | undefined {
  const { parameters, mutableParameters } = request;
  try {
    const capabilities = fromProtoCapabilities(request.volumeCapabilities);
    return explainDifference(volume, { capabilities, parameters, mutableParameters });
  } catch (error) {
    if (error instanceof DriverError) return toMessage(error);
    throw error;
  }
}
