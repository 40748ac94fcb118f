import { type Dict, dictAt, isDict } from "../objects.ts";

/**
 * The protobuf form of an OpenAPI 2 document (gnostic's openapi.v2.Document), which is the only one that kubectl up to
 * 1.26 asks for when it checks what it applies. Field numbers are those of gnostic's OpenAPIv2.proto. Clients ask for
 * "...spec.v2@v1.0+protobuf", which no answer may say: "@" is not allowed in a media type.
 */
export const openApiV2Type = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

const encoder = new TextEncoder();

/** Collects the fields of one message. */
class Message {
  readonly #parts: Uint8Array[] = [];

  bytes(field: number, value: Uint8Array): this {
    this.#parts.push(varint((field << 3) | 2), varint(value.length), value);
    return this;
  }

  text(field: number, value: unknown): this {
    return typeof value === "string" && value !== "" ? this.bytes(field, encoder.encode(value)) : this;
  }

  flag(field: number, value: unknown): this {
    if (value === true) this.#parts.push(varint(field << 3), varint(1));
    return this;
  }

  integer(field: number, value: unknown): this {
    if (typeof value === "number" && Number.isSafeInteger(value) && value > 0) {
      this.#parts.push(varint(field << 3), varint(value));
    }
    return this;
  }

  double(field: number, value: unknown): this {
    if (typeof value !== "number") return this;
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setFloat64(0, value, true);
    this.#parts.push(varint((field << 3) | 1), bytes);
    return this;
  }

  message(field: number, value: Message): this {
    return this.bytes(field, value.finish());
  }

  finish(): Uint8Array {
    return new Uint8Array(Buffer.concat(this.#parts));
  }
}

function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  let rest = value;
  while (rest >= 0x80) {
    bytes.push((rest % 0x80) | 0x80);
    rest = Math.floor(rest / 0x80);
  }
  bytes.push(rest);
  return Uint8Array.from(bytes);
}

/** The bytes of a document that `openApiV2` made. */
export function encodeOpenApiV2(document: Dict): Uint8Array {
  const info = dictAt(document, "info");
  const paths = new Message();
  for (const [path, item] of Object.entries(dictAt(document, "paths"))) {
    paths.message(2, named(path, pathItem(item as Dict)));
  }
  const definitions = new Message();
  for (const [name, schema] of Object.entries(dictAt(document, "definitions"))) {
    definitions.message(1, named(name, schemaMessage(schema as Dict)));
  }
  return new Message()
    .text(1, document.swagger)
    .message(2, new Message().text(1, info.title).text(2, info.version))
    .message(8, paths)
    .message(9, definitions)
    .finish();
}

const named = (name: string, value: Message) => new Message().text(1, name).message(2, value);

/** NamedAny: extensions are YAML text, which JSON is. */
const extension = (name: string, value: unknown) => named(name, new Message().text(2, JSON.stringify(value)));

function pathItem(item: Dict): Message {
  const message = new Message();
  for (const [method, field] of [
    ["get", 2],
    ["put", 3],
    ["post", 4],
    ["delete", 5],
    ["patch", 8],
  ] as const) {
    const operation = item[method];
    if (isDict(operation)) message.message(field, operationMessage(operation));
  }
  return message;
}

function operationMessage(operation: Dict): Message {
  const message = new Message().text(5, operation.operationId);
  for (const parameter of operation.parameters as Dict[]) {
    const query = new Message().text(2, "query").text(4, parameter.name).text(6, "string");
    const other = new Message().message(3, query);
    message.message(8, new Message().message(1, new Message().message(2, other)));
  }
  const response = new Message().message(1, new Message().text(1, "OK"));
  message.message(9, new Message().message(1, named("200", response)));
  for (const [key, value] of Object.entries(operation)) {
    if (key.startsWith("x-")) message.message(13, extension(key, value));
  }
  return message;
}

function schemaMessage(schema: Dict): Message {
  const message = new Message()
    .text(1, schema.$ref)
    .text(2, schema.format)
    .text(3, schema.title)
    .text(4, schema.description)
    .double(7, schema.maximum)
    .flag(8, schema.exclusiveMaximum)
    .double(9, schema.minimum)
    .flag(10, schema.exclusiveMinimum)
    .integer(11, schema.maxLength)
    .integer(12, schema.minLength)
    .text(13, schema.pattern)
    .integer(14, schema.maxItems)
    .integer(15, schema.minItems)
    .flag(16, schema.uniqueItems)
    .integer(17, schema.maxProperties)
    .integer(18, schema.minProperties);
  for (const name of (schema.required as string[] | undefined) ?? []) message.text(19, name);
  if (isDict(schema.additionalProperties)) {
    message.message(21, new Message().message(1, schemaMessage(schema.additionalProperties)));
  }
  if (typeof schema.type === "string") message.message(22, new Message().text(1, schema.type));
  if (isDict(schema.items)) message.message(23, new Message().message(1, schemaMessage(schema.items)));
  if (isDict(schema.properties)) {
    const properties = new Message();
    for (const [name, property] of Object.entries(schema.properties)) {
      properties.message(1, named(name, schemaMessage(property as Dict)));
    }
    message.message(25, properties);
  }
  for (const [key, value] of Object.entries(schema)) {
    if (key.startsWith("x-")) message.message(31, extension(key, value));
  }
  return message;
}
