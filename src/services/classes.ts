import type { Family } from "../lib/ip.ts";
import { setNames } from "./elements.ts";

/**
 * A class is what frontends have in common, however many they are: how many endpoints to choose from, in which list, and
 * whether a client keeps its endpoint. There is one chain per class, none per Service.
 */
export interface Class {
  readonly entrance: Entrance;
  readonly family: Family;
  readonly count: number;
  /** The second list of a frontend: this node's endpoints, for traffic from outside. */
  readonly outside: boolean;
  /** A client keeps its endpoint. */
  readonly sticky: boolean;
}

/** Slots of the second list are counted from here, in the same map. */
export const OUTSIDE = 0x8000_0000;

/** Answers that nobody is there. */
export const REFUSE_CHAIN = "services-refuse";

/** The verdicts of frontends without endpoints. */
export const REFUSE = `goto ${REFUSE_CHAIN}`;
export const DROP = "drop";

/** Whether clients address a Service by its own address, or by a port of any address of the node. */
export type Entrance = "service" | "nodeport";

/** The maps of an entrance, without the family. */
export const entrances = {
  service: {
    frontends: setNames.frontends,
    outside: setNames.outside,
    endpoints: setNames.endpoints,
    sticky: setNames.sticky,
  },
  nodeport: {
    frontends: setNames.nodePorts,
    outside: setNames.nodePortOutside,
    endpoints: setNames.nodePortEndpoints,
    sticky: setNames.nodePortSticky,
  },
} as const;

/** The name of a class's chain: "services-pick4-3", "services-nodeport-pick6-2-outside-sticky". */
export function pickChain({ entrance, family, count, outside, sticky }: Class): string {
  const prefix = entrance === "service" ? "services-pick" : "services-nodeport-pick";
  return `${prefix}${family}-${count}${outside ? "-outside" : ""}${sticky ? "-sticky" : ""}`;
}

/** The name of the chain that remembers a client's endpoint for so many seconds: "services-remember4-10800". */
export function rememberChain(family: Family, seconds: number): string {
  return `services-remember${family}-${seconds}`;
}

/** What a chain that comes and goes is for. */
export type VariableChain =
  | { readonly kind: "pick"; readonly class: Class }
  | { readonly kind: "remember"; readonly family: Family; readonly seconds: number };

/** The inverse of {@link pickChain} and {@link rememberChain}; undefined for other chains. */
export function parseChain(name: string): VariableChain | undefined {
  const remember = /^services-remember([46])-([1-9][0-9]*)$/.exec(name);
  if (remember !== null) {
    return { kind: "remember", family: remember[1] === "4" ? 4 : 6, seconds: Number(remember[2]) };
  }
  const pick = /^services-(nodeport-)?pick([46])-([1-9][0-9]*)(-outside)?(-sticky)?$/.exec(name);
  if (pick === null) return undefined;
  return {
    kind: "pick",
    class: {
      entrance: pick[1] === undefined ? "service" : "nodeport",
      family: pick[2] === "4" ? 4 : 6,
      count: Number(pick[3]),
      outside: pick[4] !== undefined,
      sticky: pick[5] !== undefined,
    },
  };
}
