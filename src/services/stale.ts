import type { Family } from "../lib/ip.ts";
import type { Installed } from "./installed.ts";
import type { ServiceTable } from "./table.ts";

/** A UDP flow that connection tracking knows, as far as it matters here; ports as numbers, addresses as text. */
export interface UdpFlow {
  readonly family: Family;
  /** Where the client sends to. */
  readonly destination: string;
  readonly destinationPort: number;
  /** Who answers: an endpoint, or the destination itself where nothing is translated. */
  readonly answerer: string;
  readonly answererPort: number;
}

/** What staleness depends on beside the table. */
export interface Surroundings {
  /** An address of this node. */
  isLocal(address: string): boolean;
  /** An address of one of this node's pods. */
  isPod(address: string): boolean;
}

/**
 * True for a flow to one of the frontends `ids` that does not lead to an endpoint that still answers: those that terminate
 * do until they say otherwise, as in kube-proxy (pkg/proxy/conntrack/cleanup.go). UDP has no end: as long as the
 * client sends, the kernel sends on to whom it once chose.
 */
export function isStaleFlow(
  flow: UdpFlow,
  table: ServiceTable,
  ids: ReadonlySet<string>,
  { isLocal }: Surroundings,
): boolean {
  const { family, destination, destinationPort } = flow;
  const service = `${family} ${destination} . udp . ${destinationPort}`;
  const nodePort = `${family} udp . ${destinationPort}`;
  const id = ids.has(service) ? service : ids.has(nodePort) && isLocal(destination) ? nodePort : undefined;
  if (id === undefined) return false;
  const installed = table.installed(id);
  if (installed !== undefined) {
    return !installed.frontend.serving.includes(`${flow.answerer} . ${flow.answererPort}`);
  }
  // Nothing is there any more: what was never translated is none of ours.
  return flow.answerer !== destination || flow.answererPort !== destinationPort;
}

/**
 * Those of the remembered clients ("client . address . protocol . port" with "endpoint . port") of the frontends `ids` whose
 * endpoint is none for them any more.
 */
export function staleClients(
  family: Family,
  clients: ReadonlyMap<string, string>,
  table: ServiceTable,
  ids: ReadonlySet<string>,
  surroundings: Surroundings,
): string[] {
  const stale: string[] = [];
  for (const [key, endpoint] of clients) {
    const [client, , protocol, port] = key.split(" . ") as [string, string, string, string];
    const service = `${family} ${key.slice(client.length + 3)}`;
    const nodePort = `${family} ${protocol} . ${port}`;
    const installed = table.installed(service) ?? table.installed(nodePort);
    const known = table.installed(service) === undefined ? nodePort : service;
    if (!ids.has(known) && !ids.has(service)) continue;
    if (!mayStay(installed, client, endpoint, surroundings)) stale.push(key);
  }
  return stale;
}

function mayStay(
  installed: Installed | undefined,
  client: string,
  endpoint: string,
  { isLocal, isPod }: Surroundings,
): boolean {
  if (installed === undefined || installed.frontend.affinity === 0) return false;
  const { frontend, inside, outside } = installed;
  const isOutside = frontend.outside !== undefined && !isPod(client) && !isLocal(client);
  return (isOutside ? outside : inside).includes(endpoint);
}
