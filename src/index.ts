export { createDriver, type DriverIdentity, type DriverParts } from "./driver.js";
export {
  type AdoptionEntry,
  type AdoptionReport,
  type BlockDevice,
  BlockDeviceError,
  type BlockDeviceErrorCode,
  type BlockDeviceImage,
  type BlockDeviceSpec,
  type BlockDevices,
} from "./engine/block-devices.js";
