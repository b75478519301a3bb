/**
 * Runs an engine in a process of its own, for tests that kill it. Usage: serve-engine.js JOURNAL-FOLDER
 * Answers the messages of engine-process.ts: a method of BlockDevices with its arguments.
 */
import { CopyRecords } from "../../../../dist/engine/journal/copy-records.js";
import { FileJournal } from "../../../../dist/engine/journal/journal.js";
import { UblkBlockDevices } from "../../../../dist/engine/ublk-block-devices.js";
import { loadUblk } from "../../../../dist/ublk/ublk.js";

const say = (level) => (fields, message) => process.stderr.write(`${level} ${message} ${fields.volumeId ?? ""}\n`);
const logger = { info: () => {}, warn: say("warn"), error: say("error") };
const journal = new FileJournal(process.argv[2]);
const copies = new CopyRecords(`${process.argv[2]}-copies`);
const engine = new UblkBlockDevices({ ublk: loadUblk(), journal, copies, logger });

engine.onEvent((event) => process.send({ event }));
process.on("message", async ({ id, method, args }) => {
  try {
    process.send({ id, value: await engine[method](...args) });
  } catch ({ name, code, message }) {
    process.send({ id, failure: { name, code, message } });
  }
});
