import { rcodeName, typeName } from "./wire/constants.ts";

/** Counters since the start, as plain numbers. Reading them costs nothing; {@link metricsSnapshot} names them. */
export interface DnsMetrics {
  /** Queries that were understood, by RR type number; types above 255 are counted at 0. */
  readonly queries: number[];
  /** Responses by response code. */
  readonly responses: number[];
  udpQueries: number;
  tcpQueries: number;
  /** Datagrams and messages that got no answer: too short, or responses themselves. */
  dropped: number;
  /** Responses over UDP that were cut, with TC set. */
  truncated: number;
  cacheHits: number;
  cacheMisses: number;
  /** Expired entries that were given because no upstream answered (RFC 8767). */
  staleAnswers: number;
  /** Queries sent to upstreams, each try counted. */
  forwards: number;
  /** Tries that brought no usable response. */
  forwardFailures: number;
  /** Queries refused because too many were waiting for upstreams. */
  overloaded: number;
  tcpConnections: number;
}

export function createMetrics(): DnsMetrics {
  return {
    queries: new Array<number>(256).fill(0),
    responses: new Array<number>(32).fill(0),
    udpQueries: 0,
    tcpQueries: 0,
    dropped: 0,
    truncated: 0,
    cacheHits: 0,
    cacheMisses: 0,
    staleAnswers: 0,
    forwards: 0,
    forwardFailures: 0,
    overloaded: 0,
    tcpConnections: 0,
  };
}

/** The counters with types and response codes by name; those that are 0 are left out of the two lists. */
export function metricsSnapshot(
  metrics: DnsMetrics,
): Omit<DnsMetrics, "queries" | "responses"> & Record<"queries" | "responses", Record<string, number>> {
  const named = (counts: readonly number[], name: (index: number) => string) =>
    Object.fromEntries(counts.flatMap((count, index) => (count === 0 ? [] : [[name(index), count]])));
  return {
    ...metrics,
    queries: named(metrics.queries, (type) => (type === 0 ? "other" : typeName(type))),
    responses: named(metrics.responses, rcodeName),
  };
}
