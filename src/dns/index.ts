/** Cluster DNS: the zone of a Kubernetes cluster, a server for it, and the message format as a library. */
export type { CacheOptions } from "./cache.ts";
export type { Endpoint, ForwardOptions } from "./forward.ts";
export { dnsEndpointSlice, dnsPod, dnsService, type ZoneHandlers, zoneHandlers } from "./kubernetes.ts";
export { isAddressInUse, isAddressNotAvailable, ListenFailure } from "./listen.ts";
export { type DnsMetrics, metricsSnapshot } from "./metrics.ts";
export type { DnsEndpoint, DnsEndpointSlice, DnsPort, DnsService } from "./records.ts";
export { type DnsServer, type DnsServerOptions, startDnsServer } from "./server.ts";
export type { TcpOptions } from "./tcp.ts";
export { Opcode, Rcode, RrClass, RrType, rcodeName, typeName } from "./wire/constants.ts";
export { DnsFormatError, isDnsFormatError } from "./wire/errors.ts";
export {
  decodeMessage,
  type Edns,
  encodeMessage,
  type Message,
  type Question,
  query,
} from "./wire/message.ts";
export { isKnown, type ResourceRecord } from "./wire/schema.ts";
export { createZone, type DnsPod, Zone, type ZoneOptions } from "./zone.ts";
