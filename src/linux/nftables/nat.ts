import { InvalidInput } from "../../lib/errors.ts";
import { checkKey, type Key, type RuleBuilder, registerAt, type Statement, slotsOf } from "./builder.ts";
import type { Datum, TypeName } from "./datatypes.ts";
import type { NftMap } from "./model.ts";
import { encodeRange, layoutOf } from "./values.ts";

const FIRST = registerAt(0);

/** Where to send a connection: given, or looked up in a map of addresses (and ports). */
export type NatTarget =
  | { readonly address?: Datum; readonly port?: Datum }
  | { readonly key: Key; readonly map: NftMap };

export interface NatOptions {
  /** Choose the port at random. */
  readonly random?: boolean;
  /** Choose the port at random without a hash of the addresses. */
  readonly fullyRandom?: boolean;
  /** Give a client the same address each time. */
  readonly persistent?: boolean;
}

function natFlags(options: NatOptions): { flags?: ("random" | "fully-random" | "persistent")[] } {
  const flags = [
    ...(options.random === true ? (["random"] as const) : []),
    ...(options.persistent === true ? (["persistent"] as const) : []),
    ...(options.fullyRandom === true ? (["fully-random"] as const) : []),
  ];
  return flags.length === 0 ? {} : { flags };
}

/** Changes the destination of a connection: of chains of type nat on prerouting and output. */
export function dnat(version: 4 | 6, target: NatTarget, options: NatOptions = {}): Statement {
  return nat("dnat", version, target, options);
}

/** Changes the source of a connection: of chains of type nat on postrouting and input. */
export function snat(version: 4 | 6, target: NatTarget, options: NatOptions = {}): Statement {
  return nat("snat", version, target, options);
}

function nat(type: "dnat" | "snat", version: 4 | 6, target: NatTarget, options: NatOptions): Statement {
  return (rule) => {
    const registers = "map" in target ? fromMap(rule, version, target) : fromValues(rule, version, target);
    rule.push({
      name: "nat",
      type,
      family: version === 4 ? "ip" : "ip6",
      ...registers,
      ...natFlags(options),
    });
  };
}

interface NatRegisters {
  addressMin?: number;
  addressMax?: number;
  portMin?: number;
  portMax?: number;
}

function fromMap(rule: RuleBuilder, version: 4 | 6, target: { key: Key; map: NftMap }): NatRegisters {
  const { key, map } = target;
  const address = addressType(version);
  const types: readonly string[] = typeof map.data === "string" ? [map.data] : map.data;
  const [first, second] = types;
  if (first !== address || types.length > 2 || (second !== undefined && second !== "inet_service")) {
    throw new InvalidInput(
      `data of "${map.name}"`,
      types.join(" . "),
      `is not ${address} or ${address} . inet_service`,
    );
  }
  checkKey(`key of "${map.name}"`, key, map.key);
  rule.loadKey(key);
  rule.push({ name: "lookup", set: map.name, source: FIRST, register: FIRST });
  return {
    addressMin: FIRST,
    ...(second !== undefined && { portMin: registerAt(slotsOf(address)) }),
  };
}

function fromValues(
  rule: RuleBuilder,
  version: 4 | 6,
  target: { address?: Datum; port?: Datum },
): NatRegisters {
  const registers: NatRegisters = {};
  let slot = 0;
  const put = (type: TypeName, value: Datum): [number, number | undefined] => {
    const [from, to] = encodeRange(layoutOf(type), value);
    const ends = from.every((byte, i) => byte === to[i]) ? [from] : [from, to];
    const [min, max] = ends.map((data) => {
      const register = registerAt(slot);
      rule.push({ name: "immediate", register, data });
      slot += 4;
      return register;
    }) as [number, number | undefined];
    return [min, max];
  };
  if (target.address !== undefined) {
    const [min, max] = put(addressType(version), target.address);
    registers.addressMin = min;
    if (max !== undefined) registers.addressMax = max;
  }
  if (target.port !== undefined) {
    const [min, max] = put("inet_service", target.port);
    registers.portMin = min;
    if (max !== undefined) registers.portMax = max;
  }
  return registers;
}

const addressType = (version: 4 | 6) => (version === 4 ? "ipv4_addr" : "ipv6_addr");

/** Changes the source to the address of the interface that the packet leaves by. `port` may be a range. */
export function masquerade(options: NatOptions & { port?: Datum } = {}): Statement {
  return (rule) => {
    const { portMin, portMax } = fromValues(
      rule,
      4,
      options.port === undefined ? {} : { port: options.port },
    );
    rule.push({
      name: "masq",
      ...(portMin !== undefined && { portMin }),
      ...(portMax !== undefined && { portMax }),
      ...natFlags(options),
    });
  };
}

/** Changes the destination to this machine. `port` may be a range. */
export function redirect(options: NatOptions & { port?: Datum } = {}): Statement {
  return (rule) => {
    const { portMin, portMax } = fromValues(
      rule,
      4,
      options.port === undefined ? {} : { port: options.port },
    );
    rule.push({
      name: "redir",
      ...(portMin !== undefined && { portMin }),
      ...(portMax !== undefined && { portMax }),
      ...natFlags(options),
    });
  };
}

/** Gives the packet to a local socket without changing it; needs a known transport protocol. */
export function tproxy(version: 4 | 6, target: { address?: Datum; port?: number }): Statement {
  return (rule) => {
    const { addressMin, portMin } = fromValues(rule, version, target);
    rule.push({
      name: "tproxy",
      family: version === 4 ? "ip" : "ip6",
      ...(addressMin !== undefined && { address: addressMin }),
      ...(portMin !== undefined && { port: portMin }),
    });
  };
}
