/** What `isPoolName` takes, for messages. */
export const poolNameForm = "1 to 63 lower-case letters, digits or '-', the first and last not '-'";

/** Whether a name is safe in paths, logs and StorageClasses. */
export function isPoolName(name: string): boolean {
  return /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(name);
}
