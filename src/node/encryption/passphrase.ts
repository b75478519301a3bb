import { DriverError } from "../../errors.js";
import type { Secrets } from "../mounts/device-mapping.js";

const secretName = "passphrase";
const passphraseBytesMin = 8;
const passphraseBytesMax = 512;

/** The passphrase of a call's secrets, byte for byte: a line feed at its end belongs to it. */
export function readPassphrase(volumeId: string, secrets: Secrets): Buffer {
  const text = secrets[secretName];
  if (text === undefined || text === "") {
    const remedy = `the StorageClass must name a Secret with the key "${secretName}" for staging and for expansion`;
    throw new DriverError("invalid", `volume ${volumeId} is encrypted and the call has no ${secretName}: ${remedy}`);
  }
  const passphrase = Buffer.from(text);
  if (passphrase.length >= passphraseBytesMin && passphrase.length <= passphraseBytesMax) return passphrase;
  const bounds = `from ${passphraseBytesMin} to ${passphraseBytesMax} bytes`;
  throw new DriverError("invalid", `the ${secretName} for volume ${volumeId} must have ${bounds}`);
}
