import type { Service, ServiceSpec } from "../../kube/types.ts";

const exposesPorts = (spec: ServiceSpec) => spec.type === "NodePort" || spec.type === "LoadBalancer";

/** Whether traffic from outside of the cluster can be for it. */
export const isExternal = (spec: ServiceSpec) => exposesPorts(spec) || (spec.externalIPs ?? []).length > 0;

/** Whether its ports need NodePorts. */
export const needsNodePorts = (spec: ServiceSpec) =>
  spec.type === "NodePort" || (spec.type === "LoadBalancer" && spec.allocateLoadBalancerNodePorts !== false);

/** Whether it needs a port for health checks of its nodes by the load balancer. */
export const needsHealthPort = (spec: ServiceSpec) =>
  spec.type === "LoadBalancer" && spec.externalTrafficPolicy === "Local";

export const isHeadless = (spec: ServiceSpec) => spec.clusterIPs?.[0] === "None" || spec.clusterIP === "None";

/**
 * Fills what a Service leaves out: on an update first from what it had, since clients send Services back without what
 * the server allocated; drops what its new type has no use for, where the client left it as it was.
 */
export function defaultService(service: Service, old: Service | undefined): void {
  const { spec } = service;
  if (old !== undefined) {
    keepAllocated(spec, old.spec);
    dropUnused(spec, old.spec);
  }
  alignClusterIps(spec, old?.spec);
  for (const port of spec.ports ?? []) {
    if (port.targetPort === undefined || port.targetPort === "" || port.targetPort === 0)
      port.targetPort = port.port;
    if (port.nodePort === 0) delete port.nodePort;
  }
  if (spec.sessionAffinity === "ClientIP") {
    spec.sessionAffinityConfig ??= {};
    spec.sessionAffinityConfig.clientIP ??= {};
    spec.sessionAffinityConfig.clientIP.timeoutSeconds ??= 10800;
  }
  if (spec.type !== "ExternalName") spec.internalTrafficPolicy ??= "Cluster";
  if (isExternal(spec)) spec.externalTrafficPolicy ??= "Cluster";
  if (spec.type === "LoadBalancer") spec.allocateLoadBalancerNodePorts ??= true;
  for (const { ip, ...entry } of service.status?.loadBalancer?.ingress ?? []) {
    if (ip !== undefined) entry.ipMode ??= "VIP";
  }
  service.status ??= {};
  service.status.loadBalancer ??= {};
}

/** Takes over addresses and ports that the update does not name. */
function keepAllocated(spec: ServiceSpec, old: ServiceSpec): void {
  if (spec.type !== "ExternalName" && old.type !== "ExternalName") {
    const unnamed = (spec.clusterIP ?? "") === "" && (spec.clusterIPs ?? []).length === 0;
    if (unnamed && old.clusterIP !== undefined && old.clusterIPs !== undefined) {
      spec.clusterIP = old.clusterIP;
      spec.clusterIPs = [...old.clusterIPs];
    }
    spec.ipFamilyPolicy ??= old.ipFamilyPolicy as NonNullable<ServiceSpec["ipFamilyPolicy"]>;
    if ((spec.ipFamilies ?? []).length === 0 && old.ipFamilies !== undefined)
      spec.ipFamilies = [...old.ipFamilies];
  }
  if (needsNodePorts(spec) && needsNodePorts(old)) {
    const named = new Set((spec.ports ?? []).map(({ nodePort }) => nodePort));
    for (const port of spec.ports ?? []) {
      if ((port.nodePort ?? 0) !== 0) continue;
      const before = old.ports?.find((other) => other.port === port.port && other.protocol === port.protocol);
      if (before?.nodePort !== undefined && !named.has(before.nodePort)) port.nodePort = before.nodePort;
    }
  }
  if (needsHealthPort(spec) && needsHealthPort(old) && !spec.healthCheckNodePort && old.healthCheckNodePort) {
    spec.healthCheckNodePort = old.healthCheckNodePort;
  }
}

/** Drops fields that only the old type had a use for, where they are still as they were. */
function dropUnused(spec: ServiceSpec, old: ServiceSpec): void {
  const unchanged = (key: keyof ServiceSpec) => Bun.deepEquals(spec[key], old[key]);
  if (spec.type === "ExternalName" && old.type !== "ExternalName") {
    for (const key of [
      "clusterIP",
      "clusterIPs",
      "ipFamilies",
      "ipFamilyPolicy",
      "internalTrafficPolicy",
    ] as const) {
      if (unchanged(key)) delete spec[key];
    }
  }
  if (needsNodePorts(old) && !needsNodePorts(spec)) {
    const before = new Set((old.ports ?? []).map(({ nodePort }) => nodePort));
    for (const port of spec.ports ?? []) if (before.has(port.nodePort)) delete port.nodePort;
  }
  if (needsHealthPort(old) && !needsHealthPort(spec) && unchanged("healthCheckNodePort")) {
    delete spec.healthCheckNodePort;
  }
  if (isExternal(old) && !isExternal(spec) && unchanged("externalTrafficPolicy"))
    delete spec.externalTrafficPolicy;
  if (old.type === "LoadBalancer" && spec.type !== "LoadBalancer") {
    for (const key of ["allocateLoadBalancerNodePorts", "loadBalancerClass"] as const) {
      if (unchanged(key)) delete spec[key];
    }
  }
  if (
    old.sessionAffinity === "ClientIP" &&
    spec.sessionAffinity === "None" &&
    unchanged("sessionAffinityConfig")
  ) {
    delete spec.sessionAffinityConfig;
  }
}

/** Makes `clusterIP` and `clusterIPs` agree: old clients know only the first, and may have set or cleared it. */
function alignClusterIps(spec: ServiceSpec, old: ServiceSpec | undefined): void {
  if (spec.clusterIP === "") delete spec.clusterIP;
  if (spec.clusterIPs?.length === 0) delete spec.clusterIPs;
  if (old === undefined) {
    if (spec.clusterIP !== undefined && spec.clusterIPs === undefined) spec.clusterIPs = [spec.clusterIP];
  } else if (spec.clusterIP !== old.clusterIP && Bun.deepEquals(spec.clusterIPs, old.clusterIPs)) {
    if (spec.clusterIP === undefined) delete spec.clusterIPs;
    else spec.clusterIPs = [spec.clusterIP];
  }
  if (spec.clusterIP === undefined && spec.clusterIPs?.[0] !== undefined && old === undefined) {
    spec.clusterIP = spec.clusterIPs[0];
  }
}
