import type { EndpointSlice, Service } from "../kube/types.ts";
import type { DnsEndpointSlice, DnsService } from "./records.ts";

/** The label by which an EndpointSlice names its Service. */
const serviceNameLabel = "kubernetes.io/service-name";

/** What a Service's names depend on. */
export function dnsService({ metadata, spec }: Service): DnsService {
  const headless = spec.clusterIP === "None";
  const external = spec.type === "ExternalName";
  const clusterIPs = spec.clusterIPs ?? (spec.clusterIP === undefined ? [] : [spec.clusterIP]);
  return {
    namespace: metadata.namespace ?? "default",
    name: metadata.name,
    clusterIPs: headless || external ? [] : clusterIPs.filter((ip) => ip !== ""),
    headless,
    externalName: external ? spec.externalName : undefined,
    publishNotReadyAddresses: spec.publishNotReadyAddresses,
    ports: (spec.ports ?? []).map(({ name, protocol = "TCP", port }) => ({ name, protocol, port })),
  };
}

/** What names depend on of an EndpointSlice; undefined for one of no Service, or of names instead of addresses. */
export function dnsEndpointSlice(slice: EndpointSlice): DnsEndpointSlice | undefined {
  const { metadata, addressType, endpoints, ports } = slice;
  const service = metadata.labels?.[serviceNameLabel];
  if (service === undefined || addressType === "FQDN") return undefined;
  return {
    namespace: metadata.namespace ?? "default",
    name: metadata.name,
    service,
    endpoints: (endpoints ?? []).map(({ addresses, hostname, conditions }) => ({
      addresses,
      hostname,
      ready: conditions?.ready,
    })),
    ports: (ports ?? []).flatMap(({ name, protocol = "TCP", port }) =>
      port === undefined || port === null ? [] : [{ name, protocol, port }],
    ),
  };
}
