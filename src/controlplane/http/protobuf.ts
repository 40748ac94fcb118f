import { type Dict, setKey } from "../objects.ts";
import { findBuiltinSchema } from "../schema/builtin.ts";
import type { Schema } from "../schema/schema.ts";
import { badRequest } from "../status.ts";

/** What Go clients send for built-in kinds, kubectl from 1.35 on among them. Answers are always JSON, which they take. */
export const PROTOBUF_TYPE = "application/vnd.kubernetes.protobuf";

const MAGIC = [0x6b, 0x38, 0x73, 0x00];
const META = "io.k8s.apimachinery.pkg.apis.meta.v1";
const fail = (why: string) => badRequest(`the body is not Kubernetes protobuf: ${why}`);
const text = new TextDecoder("utf-8", { fatal: true });

/** A value as it stands in a message: a number, or the bytes of a string or message. */
type WireValue = bigint | number | Uint8Array;

/** Decodes "k8s\0" and a runtime.Unknown with an object of a built-in kind inside. Throws a Status of 400. */
export function decodeProtobuf(bytes: Uint8Array): Dict {
  if (MAGIC.some((byte, i) => bytes[i] !== byte)) throw fail("it does not begin with k8s\\0");
  let apiVersion = "";
  let kind = "";
  let raw = new Uint8Array();
  for (const [number, value] of fieldsOf(bytes.subarray(MAGIC.length))) {
    if (number === 2) raw = bytesOf(value);
    if (number !== 1) continue;
    for (const [part, word] of fieldsOf(bytesOf(value))) {
      if (part === 1) apiVersion = stringOf(word);
      if (part === 2) kind = stringOf(word);
    }
  }
  const [group, version] = apiVersion.includes("/") ? apiVersion.split("/") : ["core", apiVersion];
  const name = `io.k8s.api.${group?.split(".")[0]}.${version}.${kind}`;
  const schema = findBuiltinSchema(kind === "DeleteOptions" ? `${META}.DeleteOptions` : name);
  if (schema === undefined) throw fail(`the kind "${kind}" of "${apiVersion}" is not known; send it as JSON`);
  return { apiVersion, kind, ...decodeMessage(raw, schema) };
}

/** The fields of a message in order. Throws a Status of 400 where the bytes are cut off or of an unknown form. */
function* fieldsOf(bytes: Uint8Array): Generator<[number: number, value: WireValue]> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let offset = 0;
  const varint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = bytes[offset++];
      if (byte === undefined) throw fail("it ends in the middle of a number");
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    throw fail("it has a number of more than 64 bits");
  };
  const take = (length: number): number => {
    const start = offset;
    offset += length;
    if (offset > bytes.length) throw fail("it ends in the middle of a field");
    return start;
  };
  while (offset < bytes.length) {
    const tag = Number(varint());
    const number = Math.floor(tag / 8);
    switch (tag % 8) {
      case 0:
        yield [number, BigInt.asIntN(64, varint())];
        break;
      case 1:
        yield [number, view.getFloat64(take(8), true)];
        break;
      case 2: {
        const length = Number(varint());
        const start = take(length);
        yield [number, bytes.subarray(start, start + length)];
        break;
      }
      case 5:
        yield [number, view.getFloat32(take(4), true)];
        break;
      default:
        throw fail(`it has a field of the unknown wire type ${tag % 8}`);
    }
  }
}

function decodeMessage(bytes: Uint8Array, schema: Schema): Dict {
  const result: Dict = {};
  for (const [number, value] of fieldsOf(bytes)) {
    const field = schema.wire?.get(number);
    if (field === undefined) continue;
    if ("inline" in field) {
      Object.assign(result, decodeMessage(bytesOf(value), field.inline));
      continue;
    }
    const { name } = field;
    const property = schema.properties?.[name];
    if (property === undefined) continue;
    if (property.items !== undefined) {
      const list = (result[name] as unknown[] | undefined) ?? [];
      list.push(decodeValue(value, property.items));
      result[name] = list;
    } else if (typeof property.additionalProperties === "object") {
      const map = (result[name] as Dict | undefined) ?? {};
      decodeEntry(bytesOf(value), property.additionalProperties, map);
      result[name] = map;
    } else {
      const decoded = decodeValue(value, property);
      // Go writes also what is not set, unless it can tell that from zero.
      if (decoded !== undefined && (field.optional || !isZero(decoded))) result[name] = decoded;
    }
  }
  return result;
}

const isZero = (value: unknown) => value === "" || value === 0 || value === false;

function decodeEntry(bytes: Uint8Array, schema: Schema, map: Dict): void {
  let key = "";
  let value: unknown = schema.type === "string" ? "" : undefined;
  for (const [number, field] of fieldsOf(bytes)) {
    if (number === 1) key = stringOf(field);
    if (number === 2) value = decodeValue(field, schema);
  }
  if (value !== undefined) setKey(map, key, value);
}

function decodeValue(value: WireValue, schema: Schema): unknown {
  if (schema["x-kubernetes-int-or-string"] === true) {
    return schema.check === "quantity" ? decodeQuantity(bytesOf(value)) : decodeIntOrString(bytesOf(value));
  }
  if (schema.raw === true) return decodeRaw(bytesOf(value));
  switch (schema.type) {
    case "string":
      if (schema.format === "byte") return Buffer.from(bytesOf(value)).toString("base64");
      if (schema.format === "date-time") return decodeTime(bytesOf(value), schema.check === "microtime");
      return stringOf(value);
    case "integer":
      return numberOf(value);
    case "number":
      if (typeof value !== "number") throw fail("it has something else where a number must be");
      return value;
    case "boolean":
      return numberOf(value) !== 0;
    default:
      return decodeMessage(bytesOf(value), schema);
  }
}

function bytesOf(value: WireValue): Uint8Array<ArrayBuffer> {
  if (value instanceof Uint8Array) return value as Uint8Array<ArrayBuffer>;
  throw fail("it has a number where a string or message must be");
}

function numberOf(value: WireValue): number {
  if (typeof value === "bigint") return Number(value);
  throw fail("it has something else where a whole number must be");
}

function stringOf(value: WireValue): string {
  try {
    return text.decode(bytesOf(value));
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw fail("it has a string that is not UTF-8");
  }
}

function decodeQuantity(bytes: Uint8Array): string {
  for (const [number, value] of fieldsOf(bytes)) if (number === 1) return stringOf(value);
  return "0";
}

function decodeIntOrString(bytes: Uint8Array): number | string {
  let isString = false;
  let int = 0;
  let string = "";
  for (const [number, value] of fieldsOf(bytes)) {
    if (number === 1) isString = numberOf(value) === 1;
    if (number === 2) int = numberOf(value);
    if (number === 3) string = stringOf(value);
  }
  return isString ? string : int;
}

function decodeTime(bytes: Uint8Array, micro: boolean): string | undefined {
  let seconds = 0;
  let nanos = 0;
  for (const [number, value] of fieldsOf(bytes)) {
    if (number === 1) seconds = numberOf(value);
    if (number === 2) nanos = numberOf(value);
  }
  // Go's zero time, which is written as an empty message.
  if (seconds === 0 && nanos === 0) return undefined;
  const date = new Date(seconds * 1000);
  if (Number.isNaN(date.getTime())) throw fail(`it has a time outside of the calendar: ${seconds}`);
  const whole = date.toISOString().slice(0, 19);
  return micro ? `${whole}.${String(Math.floor(nanos / 1000)).padStart(6, "0")}Z` : `${whole}Z`;
}

/** RawExtension and FieldsV1: JSON as bytes. */
function decodeRaw(bytes: Uint8Array): unknown {
  for (const [number, value] of fieldsOf(bytes)) {
    if (number !== 1) continue;
    try {
      return JSON.parse(stringOf(value));
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      throw fail(`it has raw data that is not JSON: ${error.message}`);
    }
  }
  return undefined;
}
