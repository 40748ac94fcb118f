import { type Dict, isDict } from "../objects.ts";
import { badRequest, tooLarge, unsupportedMediaType } from "../status.ts";
import { decodeProtobuf, PROTOBUF_TYPE } from "./protobuf.ts";

/** As much as etcd takes, twice over: the same limit as Kubernetes' own. */
export const BODY_LIMIT = 3 * 1024 * 1024;

const MOST_DEPTH = 500;
const JSON_TYPE = "application/json";
const YAML_TYPE = "application/yaml";
export const APPLY_TYPE = "application/apply-patch+yaml";
export const patchTypes = [
  "application/json-patch+json",
  "application/merge-patch+json",
  "application/strategic-merge-patch+json",
  APPLY_TYPE,
] as const;
export type PatchType = (typeof patchTypes)[number];

/** The media type of a body, without parameters; JSON where none is named. */
function mediaType(request: Request): string {
  const type = (request.headers.get("content-type") ?? "").split(";")[0] as string;
  return type.trim().toLowerCase() || JSON_TYPE;
}

const bodyTypes = [JSON_TYPE, YAML_TYPE, PROTOBUF_TYPE];

/** The body of a request as an object. Throws a Status of 400, 413 or 415. */
export async function readObject(request: Request): Promise<Dict> {
  const body = await readOptionalObject(request);
  if (body === undefined) throw badRequest("the body must be an object, and there is none");
  return body;
}

/** As {@link readObject}, but a request without a body gives undefined. */
export async function readOptionalObject(request: Request): Promise<Dict | undefined> {
  const type = mediaType(request);
  const bytes = await readBytes(request);
  if (bytes.length === 0) return undefined;
  if (!bodyTypes.includes(type)) throw unsupportedMediaType(type, bodyTypes);
  if (type === PROTOBUF_TYPE) return decodeProtobuf(bytes);
  const value = decode(bytes, type === YAML_TYPE);
  if (!isDict(value)) throw badRequest("the body must be an object");
  return value;
}

/** The body of a PATCH and its type. Throws a Status of 400, 413 or 415. */
export async function readPatch(request: Request): Promise<{ type: PatchType; patch: unknown }> {
  const given = mediaType(request);
  const type = patchTypes.find((known) => known === given);
  if (type === undefined) throw unsupportedMediaType(given, patchTypes);
  return { type, patch: decode(await readBytes(request), type === APPLY_TYPE) };
}

const [QUOTE, BACKSLASH, OPEN_LIST, CLOSE_LIST, OPEN_OBJECT, CLOSE_OBJECT] = [
  0x22, 0x5c, 0x5b, 0x5d, 0x7b, 0x7d,
];

/** How deep JSON is nested, by its brackets outside of strings: what recurses over it must not overflow the stack. */
function depthOf(bytes: Uint8Array): number {
  let depth = 0;
  let most = 0;
  let quoted = false;
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i];
    if (byte === QUOTE) quoted = !quoted;
    else if (quoted) {
      if (byte === BACKSLASH) i++;
    } else if (byte === OPEN_LIST || byte === OPEN_OBJECT) {
      depth++;
      if (depth > most) most = depth;
    } else if (byte === CLOSE_LIST || byte === CLOSE_OBJECT) depth--;
  }
  return most;
}

async function readBytes(request: Request): Promise<Uint8Array> {
  if (Number(request.headers.get("content-length") ?? 0) > BODY_LIMIT) throw tooLarge(BODY_LIMIT);
  let bytes: Uint8Array;
  try {
    bytes = await request.bytes();
  } catch (error) {
    throw badRequest(`the body could not be read: ${error instanceof Error ? error.message : String(error)}`);
  }
  if (bytes.length > BODY_LIMIT) throw tooLarge(BODY_LIMIT);
  return bytes;
}

/** JSON is tried first for YAML too: it is what kubectl sends, and far faster to read. */
function decode(bytes: Uint8Array, yaml: boolean): unknown {
  if (depthOf(bytes) > MOST_DEPTH) throw badRequest(`the body is nested more than ${MOST_DEPTH} levels deep`);
  const text = new TextDecoder().decode(bytes);
  try {
    return JSON.parse(text);
  } catch (error) {
    if (!yaml) throw badRequest(`the body is not JSON: ${(error as Error).message}`);
  }
  try {
    // Out of YAML's values only those that JSON has: dates, sets and repeated nodes become plain copies.
    return JSON.parse(JSON.stringify(Bun.YAML.parse(text)) ?? "null");
  } catch (error) {
    throw badRequest(`the body is not YAML: ${(error as Error).message}`);
  }
}
