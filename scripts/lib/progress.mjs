// What set-up is doing and for how long, on standard error: standard output belongs to the program that follows.
import { beforeSignalDeath } from "./process.mjs";

const terminal = process.stderr.isTTY === true;
const wipe = "\r\x1b[K";

/** @param {number} since */
export const elapsed = (since) => `${((Date.now() - since) / 1000).toFixed(1)} s`;

/**
 * Shows one step while it runs.
 * @template T
 * @param {string} title
 * @param {(note: (text: string) => void) => Promise<T>} work gets a function that tells what it is at
 * @returns {Promise<T>}
 */
export async function step(title, work) {
  const since = Date.now();
  let note = "";
  let told = since;
  const line = () => `set-up: ${title}${note === "" ? "" : `: ${note}`}`;
  /** @param {string} text */
  const print = (text) => process.stderr.write(text);
  const draw = () => {
    if (terminal)
      print(`${wipe}${`${line()} ${elapsed(since)}`.slice(0, (process.stderr.columns || 80) - 1)}`);
    else if (Date.now() - told >= 10_000) {
      told = Date.now();
      print(`${line()}, ${elapsed(since)} so far\n`);
    }
  };
  if (!terminal) print(`set-up: ${title} ...\n`);
  const timer = setInterval(draw, 200);
  beforeSignalDeath(() => terminal && print("\n"));
  draw();
  try {
    const result = await work((text) => {
      note = text;
      draw();
    });
    print(`${terminal ? wipe : ""}set-up: ${title}: done in ${elapsed(since)}\n`);
    return result;
  } catch (error) {
    print(`${terminal ? wipe : ""}set-up: ${title}: failed after ${elapsed(since)}\n`);
    throw error;
  } finally {
    clearInterval(timer);
  }
}
