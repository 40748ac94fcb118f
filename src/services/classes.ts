import type { Family } from "../lib/ip.ts";
import { setNames } from "./elements.ts";

/**
 * A class is what frontends have in common, however many they are: how many endpoints to choose from, in which list, and
 * for how long a client keeps its endpoint. There is one chain per class, none per Service.
 */
export interface Class {
  readonly count: number;
  /** The second list of a frontend: this node's endpoints, for traffic from outside. */
  readonly outside: boolean;
  /** Seconds; 0 is off. */
  readonly affinity: number;
}

/** Slots of the second list are counted from here, in the same map. */
export const OUTSIDE = 0x8000_0000;

/** The values of a frontend without endpoints, as {@link classValue} has them. */
export const REJECT = "0 . 0";
export const DROP = "0 . 1";

/** A class as the value of a frontend: count, with the highest bit for the second list, and affinity. */
export function classValue({ count, outside, affinity }: Class): string {
  return `${count + (outside ? OUTSIDE : 0)} . ${affinity}`;
}

/** Whether clients address a Service by its own address, or by a port of any address of the node. */
export type Entrance = "service" | "nodeport";

/** The chains of an entrance, and the names of its maps without the family. */
export const entrances = {
  service: {
    classes: setNames.classes,
    frontends: setNames.frontends,
    outside: setNames.outside,
    endpoints: setNames.endpoints,
    affinity: setNames.affinity,
    affinityEndpoints: setNames.affinityEndpoints,
    pick: "services-pick",
  },
  nodeport: {
    classes: setNames.nodePortClasses,
    frontends: setNames.nodePorts,
    outside: setNames.nodePortOutside,
    endpoints: setNames.nodePortEndpoints,
    affinity: setNames.nodePortAffinity,
    affinityEndpoints: setNames.nodePortAffinityEndpoints,
    pick: "services-nodeport-pick",
  },
} as const;

/** The name of a class's chain: "services-pick4-3", "services-nodeport-pick6-outside-2-10800". */
export function pickChain(entrance: Entrance, family: Family, { count, outside, affinity }: Class): string {
  const words = [outside ? "outside" : "", String(count), affinity === 0 ? "" : String(affinity)];
  return `${entrances[entrance].pick}${family}-${words.filter((word) => word !== "").join("-")}`;
}

/** The inverse of {@link pickChain}; undefined for other chains. */
export function parsePickChain(
  name: string,
): { entrance: Entrance; family: Family; class: Class } | undefined {
  const match = /^services-(nodeport-)?pick([46])-(outside-)?([1-9][0-9]*)(?:-([1-9][0-9]*))?$/.exec(name);
  if (match === null) return undefined;
  return {
    entrance: match[1] === undefined ? "service" : "nodeport",
    family: match[2] === "4" ? 4 : 6,
    class: { count: Number(match[4]), outside: match[3] !== undefined, affinity: Number(match[5] ?? 0) },
  };
}
