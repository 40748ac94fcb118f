import type { EndpointSlice, Service } from "../kube/types.ts";
import { keyOf } from "../kube/types.ts";
import { explain } from "../lib/errors.ts";
import type { Family } from "../lib/ip.ts";
import { ChainPool } from "./chains.ts";
import { entrances, OUTSIDE, parseChain, pickChain, rememberChain } from "./classes.ts";
import { type Change, Elements, inner, setNames } from "./elements.ts";
import { EndpointChoice, type NodeView, ownAddresses } from "./endpoints.ts";
import {
  clusterIps,
  type Frontend,
  type FrontendPolicy,
  frontendsOf,
  isAnsweredHere,
  isProxied,
  origins,
} from "./frontends.ts";
import {
  classOf,
  entranceOf,
  type Installed,
  idOf,
  leavesClients,
  leavesFlows,
  slotsOf,
  verdictOf,
} from "./installed.ts";
import { assignSlots } from "./slots.ts";

const SERVICE_NAME = "kubernetes.io/service-name";

/** What may be adopted: the elements of a set as the kernel has them. */
export type Adopted = (set: string) => ReadonlyMap<string, string>;

/** A Service's wish for a frontend. */
interface Claim {
  readonly service: string;
  readonly created: string;
  readonly frontend: Frontend;
}

/** What a Service had when it was last computed. */
interface Computed {
  /** By {@link idOf}. */
  readonly frontends: ReadonlyMap<string, Frontend>;
  readonly clusterIps: readonly string[];
  readonly own: ReadonlySet<string>;
}

/** The result of {@link ServiceTable.compute}. */
export interface Delta {
  readonly changes: readonly Change[];
  /** UDP frontends, by {@link idOf}, some of whose flows may now go where no endpoint is. */
  readonly staleFlows: ReadonlySet<string>;
  /** Frontends, by {@link idOf}, some of whose clients may be remembered at what is no endpoint for them any more. */
  readonly staleClients: ReadonlySet<string>;
}

/** Two Services that want the same address and port. */
export interface Conflict {
  readonly frontend: string;
  readonly service: string;
  readonly winner: string;
}

/**
 * From Services and EndpointSlices to the elements of sets and maps: a pure function of what was set, computed again only
 * for Services that changed. Nothing of it reads or writes the kernel.
 */
export class ServiceTable {
  readonly elements = new Elements();
  readonly #chains = new ChainPool(this.elements);
  #node: NodeView;
  #policy: FrontendPolicy;
  readonly #services = new Map<string, Service>();
  readonly #slices = new Map<string, Map<string, EndpointSlice>>();
  readonly #serviceOfSlice = new Map<string, string>();
  readonly #computed = new Map<string, Computed>();
  readonly #claims = new Map<string, Claim[]>();
  readonly #contested = new Set<string>();
  readonly #refused = new Map<string, readonly string[]>();
  readonly #installed = new Map<string, Installed>();
  readonly #dirty = new Set<string>();
  #staleFlows = new Set<string>();
  #staleClients = new Set<string>();
  #slotsBefore: Map<string, string[]> | undefined;

  constructor(node: NodeView, policy: FrontendPolicy) {
    this.#node = node;
    this.#policy = policy;
  }

  /** Lets the first computation place endpoints where an earlier process placed them, and keep its chains. */
  adopt(adopted: Adopted, chains: Iterable<string>): void {
    for (const name of chains) if (parseChain(name) !== undefined) this.#chains.adopt(name);
    const slots = new Map<string, string[]>();
    for (const entrance of ["service", "nodeport"] as const) {
      for (const family of [4, 6] as const) {
        for (const [key, endpoint] of adopted(entrances[entrance].endpoints + family)) {
          const cut = key.lastIndexOf(" . ");
          const slot = Number(key.slice(cut + 3));
          const list = listId(`${family} ${key.slice(0, cut)}`, slot >= OUTSIDE);
          const places = slots.get(list) ?? [];
          slots.set(list, places);
          // A slot far out is not ours; a sparse array would follow it.
          if (slot % OUTSIDE <= 0xffff) places[slot % OUTSIDE] = endpoint;
        }
      }
    }
    this.#slotsBefore = slots;
  }

  /** The node's own view changed: everything is computed again. */
  setNode(node: NodeView, policy: FrontendPolicy): void {
    this.#node = node;
    this.#policy = policy;
    for (const key of this.#services.keys()) this.#dirty.add(key);
  }

  setService(service: Service): void {
    const key = keyOf(service.metadata);
    this.#services.set(key, service);
    this.#dirty.add(key);
  }

  deleteService(key: string): void {
    if (this.#services.delete(key)) this.#dirty.add(key);
  }

  setSlice(slice: EndpointSlice): void {
    const key = keyOf(slice.metadata);
    const name = slice.metadata.labels?.[SERVICE_NAME];
    const service = name === undefined ? undefined : keyOf({ ...slice.metadata, name });
    if (this.#serviceOfSlice.get(key) !== service) this.deleteSlice(key);
    if (service === undefined) return;
    this.#serviceOfSlice.set(key, service);
    inner(this.#slices, service).set(key, slice);
    this.#dirty.add(service);
  }

  deleteSlice(key: string): void {
    const service = this.#serviceOfSlice.get(key);
    if (service === undefined) return;
    this.#serviceOfSlice.delete(key);
    const slices = this.#slices.get(service);
    slices?.delete(key);
    if (slices?.size === 0) this.#slices.delete(service);
    this.#dirty.add(service);
  }

  /** Brings the elements up to date and says what changed since the last call. */
  compute(): Delta {
    const touched = new Set<string>();
    for (const key of this.#dirty) this.#computeService(key, touched);
    this.#dirty.clear();
    for (const id of touched) this.#install(id);
    this.#slotsBefore = undefined;
    const delta = {
      changes: this.elements.take(),
      staleFlows: this.#staleFlows,
      staleClients: this.#staleClients,
    };
    this.#staleFlows = new Set();
    this.#staleClients = new Set();
    return delta;
  }

  /** What is at a frontend now; undefined where nothing is. */
  installed(id: string): Installed | undefined {
    return this.#installed.get(id);
  }

  /** All frontends, by {@link idOf}. */
  frontends(): Iterable<[id: string, installed: Installed]> {
    return this.#installed;
  }

  /** How many Services have a frontend or a wish for one. */
  get size(): number {
    return this.#computed.size;
  }

  /** Services whose address and port another has. */
  conflicts(): Conflict[] {
    return [...this.#contested].flatMap((frontend) => {
      const [winner, ...losers] = this.#claims.get(frontend) ?? [];
      return losers.map(({ service }) => ({ frontend, service, winner: winner?.service ?? "" }));
    });
  }

  /** What Services wished for and do not get, by Service. */
  refusals(): ReadonlyMap<string, readonly string[]> {
    return this.#refused;
  }

  #computeService(key: string, touched: Set<string>): void {
    const before = this.#computed.get(key);
    const service = this.#services.get(key);
    let after: Computed | undefined;
    try {
      after = service === undefined || !isProxied(service) ? undefined : this.#wishes(key, service);
    } catch (error) {
      // An object that is not what its type says keeps what it had, and the others from nothing.
      this.#refused.set(key, [`it is malformed (${explain(error)})`]);
      return;
    }
    if (after === undefined) this.#refused.delete(key);
    if (after === undefined) this.#computed.delete(key);
    else this.#computed.set(key, after);
    for (const id of before?.frontends.keys() ?? []) {
      if (after?.frontends.has(id)) continue;
      this.#claim(id, key, undefined);
      touched.add(id);
    }
    const created = service?.metadata.creationTimestamp ?? "";
    for (const [id, frontend] of after?.frontends ?? []) {
      this.#claim(id, key, { service: key, created, frontend });
      touched.add(id);
    }
    this.#useAddresses(before, after);
  }

  #wishes(key: string, service: Service): Computed {
    const slices = [...(this.#slices.get(key)?.values() ?? [])].filter(isServed);
    const choice = new EndpointChoice(service, slices, this.#node);
    const { frontends, refused } = frontendsOf(service, choice, this.#policy);
    if (refused.length > 0) this.#refused.set(key, refused);
    else this.#refused.delete(key);
    return {
      // They come in the order of precedence, and a Service may want the same twice.
      frontends: new Map(frontends.toReversed().map((frontend) => [idOf(frontend), frontend])),
      clusterIps: clusterIps(service)
        .filter((ip) => !isAnsweredHere(ip, this.#policy))
        .map(String),
      own: ownAddresses(slices, this.#node),
    };
  }

  /** Adds first, so that what stays is not touched. */
  #useAddresses(before: Computed | undefined, after: Computed | undefined): void {
    for (const [computed, difference] of [
      [after, 1],
      [before, -1],
    ] as const) {
      for (const ip of computed?.clusterIps ?? []) {
        this.elements.use(setNames.clusterIps + familyOf(ip), ip, difference);
      }
      for (const ip of computed?.own ?? []) {
        this.elements.use(setNames.hairpin + familyOf(ip), `${ip} . ${ip}`, difference);
      }
    }
  }

  #claim(id: string, service: string, claim: Claim | undefined): void {
    const claims = (this.#claims.get(id) ?? []).filter((other) => other.service !== service);
    if (claim !== undefined) claims.push(claim);
    if (claims.length > 1) claims.sort(precedence);
    if (claims.length === 0) this.#claims.delete(id);
    else this.#claims.set(id, claims);
    if (claims.length > 1) this.#contested.add(id);
    else this.#contested.delete(id);
  }

  /** Makes the elements of a frontend those of its first claim. */
  #install(id: string): void {
    const before = this.#installed.get(id);
    const claim = this.#claims.get(id)?.[0];
    const after = claim === undefined ? undefined : this.#placed(id, claim.frontend, before);
    const shown = (after ?? before)?.frontend;
    if (shown === undefined) return;
    if (after !== undefined) this.#use(after, 1);
    if (before !== undefined) this.#use(before, -1);
    this.#write(shown, before, after);
    if (after === undefined) this.#installed.delete(id);
    else this.#installed.set(id, after);
    if (shown.protocol === "udp" && leavesFlows(before, after)) this.#staleFlows.add(id);
    if (leavesClients(before, after)) this.#staleClients.add(id);
  }

  /** The elements that a frontend has for itself. */
  #write(
    { origin, family, key }: Frontend,
    before: Installed | undefined,
    after: Installed | undefined,
  ): void {
    const maps = entrances[entranceOf({ origin })];
    const affinity = after?.frontend.affinity ?? 0;
    this.elements.put(maps.frontends + family, key, after && verdictOf(after, false));
    this.elements.put(maps.outside + family, key, after?.frontend.outside && verdictOf(after, true));
    // A jump, which comes back: the source of the packet is still to be translated.
    this.elements.put(
      maps.sticky + family,
      key,
      affinity > 0 ? `jump ${rememberChain(family, affinity)}` : undefined,
    );
    for (const outside of [false, true]) {
      const endpoints = slotsOf(after, outside);
      for (let i = 0; i < Math.max(endpoints.length, slotsOf(before, outside).length); i++) {
        this.elements.put(maps.endpoints + family, `${key} . ${i + (outside ? OUTSIDE : 0)}`, endpoints[i]);
      }
    }
  }

  #placed(id: string, frontend: Frontend, before: Installed | undefined): Installed {
    const place = (outside: boolean) => {
      const wanted = (outside ? frontend.outside : frontend.inside)?.endpoints ?? [];
      const old =
        before === undefined ? this.#slotsBefore?.get(listId(id, outside)) : slotsOf(before, outside);
      return assignSlots(old ?? [], wanted);
    };
    return { frontend, inside: place(false), outside: place(true) };
  }

  /** Counts the chains that a frontend shares, and the elements that it has by content. */
  #use(installed: Installed, difference: 1 | -1): void {
    const { frontend } = installed;
    const { family, key, affinity, sourceRanges } = frontend;
    for (const outside of [false, true]) {
      const group = classOf(installed, outside);
      if (group !== undefined) this.#chains.use(pickChain(group), difference);
    }
    if (affinity > 0) this.#chains.use(rememberChain(family, affinity), difference);
    if (entranceOf(frontend) === "nodeport") {
      this.elements.use(setNames.nodePortGate + family, key, difference);
    } else if (frontend.outside !== undefined || sourceRanges !== undefined) {
      this.elements.use(setNames.special + family, key, difference);
    }
    if (sourceRanges === undefined) return;
    this.elements.use(setNames.restricted + family, key, difference);
    for (const range of sourceRanges) {
      this.elements.use(setNames.sourceRanges + family, `${key} . ${range}`, difference);
    }
  }
}

function listId(id: string, outside: boolean): string {
  return outside ? `${id} outside` : id;
}

function precedence(a: Claim, b: Claim): number {
  return (
    origins.indexOf(a.frontend.origin) - origins.indexOf(b.frontend.origin) ||
    compare(a.created, b.created) ||
    compare(a.service, b.service)
  );
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function familyOf(ip: string): Family {
  return ip.includes(":") ? 6 : 4;
}

function isServed(slice: EndpointSlice): boolean {
  const { labels } = slice.metadata;
  return (
    labels?.["service.kubernetes.io/headless"] === undefined &&
    labels?.["service.kubernetes.io/service-proxy-name"] === undefined
  );
}
