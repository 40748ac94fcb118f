import { InvalidInput } from "../../lib/errors.ts";

const TC_H_ROOT = 0xffffffff;
/** Also TC_H_CLSACT: where the ingress and clsact qdiscs stand. */
const TC_H_INGRESS = 0xfffffff1;
const CLSACT_INGRESS = 0xfffffff2;
const CLSACT_EGRESS = 0xfffffff3;

const words: Readonly<Record<string, number>> = {
  root: TC_H_ROOT,
  ingress: CLSACT_INGRESS,
  egress: CLSACT_EGRESS,
  clsact: TC_H_INGRESS,
};

/**
 * The number of a qdisc or class: "1:" a qdisc, "1:10" a class (hexadecimal, as `tc` writes them), "root", "clsact"
 * (the parent of an ingress or clsact qdisc), "ingress" and "egress" (the parents of filters in a clsact qdisc).
 */
export function parseHandle(handle: string): number {
  const word = Object.hasOwn(words, handle) ? words[handle] : undefined;
  if (word !== undefined) return word;
  const match = /^([0-9a-f]{1,4}):([0-9a-f]{0,4})$/i.exec(handle);
  if (match === null) {
    throw new InvalidInput("handle", handle, "is no handle", {
      remedy: 'Write it like "1:", "1:10" or "root"',
    });
  }
  return ((Number.parseInt(match[1] as string, 16) << 16) | Number.parseInt(`0${match[2]}`, 16)) >>> 0;
}

/** The text of a handle; see {@link parseHandle}. */
export function formatHandle(handle: number): string {
  for (const [word, number] of Object.entries(words)) {
    if (number === handle) return word;
  }
  const minor = handle & 0xffff;
  return `${(handle >>> 16).toString(16)}:${minor === 0 ? "" : minor.toString(16)}`;
}
