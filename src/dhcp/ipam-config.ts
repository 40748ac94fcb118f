import { Fields, type JsonObject } from "../cni/fields.ts";
import { InvalidInput } from "../lib/errors.ts";
import { didYouMean } from "../lib/suggest.ts";
import type { ResultSettings } from "./lease.ts";
import { optionCode } from "./message.ts";

/** What `ipam` of a network configuration, together with CNI_ARGS, asks for. */
export interface DhcpConfig extends ResultSettings {
  /** Option 55. */
  requested: number[];
  provided: Map<number, Uint8Array>;
}

/** Names of options, those of dhcp-options(5). The first six are the reference's. */
const optionNames: Readonly<Record<string, number>> = {
  "dhcp-client-identifier": optionCode.clientIdentifier,
  "subnet-mask": optionCode.subnetMask,
  routers: optionCode.router,
  "host-name": optionCode.hostName,
  "user-class": optionCode.userClass,
  "vendor-class-identifier": optionCode.vendorClassIdentifier,
  "domain-name-servers": optionCode.domainNameServer,
  "domain-name": optionCode.domainName,
  "domain-search": optionCode.domainSearch,
  "static-routes": optionCode.staticRoute,
  "rfc3442-classless-static-routes": optionCode.classlessStaticRoute,
};

/** Asked for where `skipDefault` does not forbid it. RFC 3442: 121 stands before 3. */
const defaultRequested = [
  optionCode.subnetMask,
  optionCode.classlessStaticRoute,
  optionCode.router,
  optionCode.staticRoute,
  optionCode.domainNameServer,
  optionCode.domainName,
  optionCode.domainSearch,
  // Some servers tell other times than the customary ones only to who asks for them.
  optionCode.renewalTime,
  optionCode.rebindingTime,
];

/** The client says these itself. */
const reserved: readonly number[] = [
  optionCode.pad,
  optionCode.requestedAddress,
  optionCode.overload,
  optionCode.messageType,
  optionCode.serverIdentifier,
  optionCode.end,
];

const longestValue = 255;

/** Reads `ipam`. Throws {@link InvalidInput}. */
export function parseDhcpConfig(ipam: JsonObject, cniArgs: string): DhcpConfig {
  const fields = new Fields(ipam, "ipam");
  const suppress = fields.strings("suppress") ?? [];
  for (const item of suppress) {
    if (item === "gateway") continue;
    throw new InvalidInput("ipam.suppress", item, "is not known", {
      remedy: 'Only "gateway" can be left out',
    });
  }
  return {
    requested: parseRequested(fields.objects("request") ?? []),
    provided: parseProvided(fields.objects("provide") ?? [], cniArgs),
    priority: fields.integer("priority", 0, 2 ** 32 - 1) ?? 0,
    suppressGateway: suppress.length > 0,
  };
}

function parseRequested(items: readonly Fields[]): number[] {
  const codes = new Set<number>();
  let skipDefault = false;
  for (const item of items) {
    if (item.boolean("skipDefault") === true) skipDefault = true;
    const name = item.string("option") ?? "";
    if (name !== "") codes.add(parseOptionCode(name, item.at("option"), [optionCode.pad, optionCode.end]));
  }
  if (!skipDefault) for (const code of defaultRequested) codes.add(code);
  return [...codes];
}

function parseProvided(items: readonly Fields[], cniArgs: string): Map<number, Uint8Array> {
  const args = parseArgs(cniArgs);
  const provided = new Map<number, Uint8Array>();
  for (const item of items) {
    const name = item.string("option") ?? "";
    const code = parseOptionCode(name, item.at("option"), reserved);
    const value = item.string("value") ?? "";
    const fromArg = item.string("fromArg") ?? "";
    if (value !== "") provided.set(code, encodeValue(value, item.at("value")));
    const argument = args.get(fromArg);
    if (argument !== undefined) provided.set(code, encodeValue(argument, `CNI_ARGS ${fromArg}`));
  }
  return provided;
}

function encodeValue(value: string, field: string): Uint8Array {
  const bytes = new TextEncoder().encode(value);
  if (bytes.length <= longestValue) return bytes;
  throw new InvalidInput(field, value, `is too long for an option: ${bytes.length} bytes`, {
    remedy: `Use at most ${longestValue}`,
  });
}

/** "host-name" or "12". */
function parseOptionCode(text: string, field: string, refused: readonly number[]): number {
  const code = Object.hasOwn(optionNames, text)
    ? (optionNames[text] as number)
    : /^[0-9]{1,3}$/.test(text)
      ? Number(text)
      : Number.NaN;
  if (!(code <= 255)) {
    const names = Object.keys(optionNames);
    throw new InvalidInput(field, text, `is not an option${didYouMean(text, names)}`, {
      remedy: `Give its number, from 1 to 254, or one of ${names.join(", ")}`,
    });
  }
  if (!refused.includes(code)) return code;
  throw new InvalidInput(field, text, "is an option that is the client's own business");
}

/** CNI_ARGS with whatever keys it has; `provide` may name any. */
function parseArgs(text: string): Map<string, string> {
  const args = new Map<string, string>();
  for (const pair of text.split(";")) {
    const cut = pair.indexOf("=");
    if (cut > 0) args.set(pair.slice(0, cut), pair.slice(cut + 1));
  }
  return args;
}
