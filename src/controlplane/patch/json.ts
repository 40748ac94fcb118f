import { cloneJson, type Dict, isDict, own, setKey } from "../objects.ts";
import { StatusError } from "../status.ts";

const MOST_OPERATIONS = 10_000;

const refused = (message: string) =>
  new StatusError(422, "Invalid", `the JSON patch cannot be applied: ${message}`);

/** Applies a JSON Patch (RFC 6902); `document` is not changed. Throws a Status of 400 or 422. */
export function applyJsonPatch(document: unknown, patch: unknown): unknown {
  if (!Array.isArray(patch))
    throw new StatusError(400, "BadRequest", "a JSON patch must be an array of operations");
  if (patch.length > MOST_OPERATIONS) {
    const why = `The allowed maximum operations in a JSON patch is ${MOST_OPERATIONS}, got ${patch.length}`;
    throw new StatusError(413, "RequestEntityTooLarge", why);
  }
  let result = cloneJson(document);
  for (const [i, operation] of patch.entries()) {
    if (!isDict(operation)) throw refused(`operation ${i} is not an object`);
    result = applyOperation(result, operation, i);
  }
  return result;
}

function applyOperation(document: unknown, operation: Dict, index: number): unknown {
  const op = own(operation, "op");
  const fail = (why: string) =>
    refused(`operation ${index} (${String(op)} ${String(own(operation, "path"))}) ${why}`);
  const pointer = (key: "path" | "from"): string[] => parsePointer(own(operation, key), fail);
  const value = (): unknown => {
    if (!Object.hasOwn(operation, "value")) throw fail("has no value");
    return cloneJson(operation.value);
  };
  switch (op) {
    case "add":
      return add(document, pointer("path"), value(), fail);
    case "remove":
      return remove(document, pointer("path"), fail);
    case "replace": {
      const path = pointer("path");
      if (path.length === 0) return value();
      return add(remove(document, path, fail), path, value(), fail);
    }
    case "move": {
      const [from, path] = [pointer("from"), pointer("path")];
      if (path.length > from.length && from.every((step, i) => step === path[i]))
        throw fail("moves a value into itself");
      const moved = read(document, from, fail);
      return add(remove(document, from, fail), path, moved, fail);
    }
    case "copy":
      return add(document, pointer("path"), cloneJson(read(document, pointer("from"), fail)), fail);
    case "test":
      if (!Bun.deepEquals(read(document, pointer("path"), fail), value())) throw fail("found another value");
      return document;
    default:
      throw fail("is no operation of RFC 6902");
  }
}

type Fail = (why: string) => StatusError;

/** RFC 6901. */
function parsePointer(text: unknown, fail: Fail): string[] {
  if (typeof text !== "string" || (text !== "" && !text.startsWith("/"))) throw fail("has no JSON pointer");
  const steps = text.split("/").slice(1);
  return steps.map((step) => step.replaceAll("~1", "/").replaceAll("~0", "~"));
}

function read(document: unknown, path: readonly string[], fail: Fail): unknown {
  let current = document;
  for (const step of path) {
    if (Array.isArray(current)) current = current[indexOf(step, current.length - 1, fail)];
    else if (isDict(current) && Object.hasOwn(current, step)) current = own(current, step);
    else throw fail("leads to nothing");
  }
  return current;
}

function add(document: unknown, path: readonly string[], value: unknown, fail: Fail): unknown {
  if (path.length === 0) return value;
  const parent = read(document, path.slice(0, -1), fail);
  const last = path.at(-1) as string;
  if (Array.isArray(parent)) {
    const index = last === "-" ? parent.length : indexOf(last, parent.length, fail);
    parent.splice(index, 0, value);
  } else if (isDict(parent)) setKey(parent, last, value);
  else throw fail("leads into a value that has no members");
  return document;
}

function remove(document: unknown, path: readonly string[], fail: Fail): unknown {
  if (path.length === 0) return null;
  const parent = read(document, path.slice(0, -1), fail);
  const last = path.at(-1) as string;
  if (Array.isArray(parent)) parent.splice(indexOf(last, parent.length - 1, fail), 1);
  else if (isDict(parent) && Object.hasOwn(parent, last)) delete parent[last];
  else throw fail("leads to nothing");
  return document;
}

function indexOf(step: string, most: number, fail: Fail): number {
  const index = /^(0|[1-9]\d{0,9})$/.test(step) ? Number(step) : -1;
  if (index < 0 || index > most) throw fail(`has the index "${step}" outside of the list`);
  return index;
}
