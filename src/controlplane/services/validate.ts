import type { Service, ServicePort, ServiceSpec } from "../../kube/types.ts";
import { Ip } from "../../lib/ip.ts";
import { checkDnsLabel, checkDnsSubdomain } from "../schema/checks.ts";
import { duplicate, type FieldError, forbiddenField, invalidValue, required } from "../status.ts";
import { isExternal, isHeadless, needsHealthPort } from "./defaults.ts";

/** What is wrong with a Service beyond its schema; addresses and families are looked at by {@link allocateService}. */
export function validateService(service: Service): FieldError[] {
  const { spec } = service;
  const errors = [...validatePorts(spec), ...validateExternal(spec), ...validateAffinity(spec)];
  if (spec.type === "LoadBalancer" && isHeadless(spec)) {
    errors.push(
      invalidValue("spec.clusterIPs[0]", "None", "may not be set to 'None' for LoadBalancer services"),
    );
  }
  if (spec.type === "NodePort" && isHeadless(spec)) {
    errors.push(invalidValue("spec.clusterIPs[0]", "None", "may not be set to 'None' for NodePort services"));
  }
  if (spec.type === "ExternalName") {
    for (const key of ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] as const) {
      if (spec[key] !== undefined)
        errors.push(forbiddenField(`spec.${key}`, "may not be set for ExternalName services"));
    }
    const name = spec.externalName ?? "";
    const problem = name === "" ? undefined : checkDnsSubdomain(name.replace(/\.$/, ""));
    if (name === "") errors.push(required("spec.externalName"));
    else if (problem !== undefined) errors.push(invalidValue("spec.externalName", name, problem));
  }
  return errors;
}

function validatePorts(spec: ServiceSpec): FieldError[] {
  const ports = spec.ports ?? [];
  const errors: FieldError[] = [];
  if (ports.length === 0 && !isHeadless(spec) && spec.type !== "ExternalName")
    errors.push(required("spec.ports"));
  const names = new Set<string>();
  const numbers = new Set<string>();
  const nodePorts = new Set<string>();
  for (const [i, port] of ports.entries()) {
    const path = `spec.ports[${i}]`;
    errors.push(...validatePortName(port, path, ports.length > 1, names));
    const number = `${port.port}/${port.protocol}`;
    if (numbers.has(number)) errors.push(duplicate(path, { protocol: port.protocol, port: port.port }));
    numbers.add(number);
    if (port.nodePort === undefined) continue;
    const nodePort = `${port.nodePort}/${port.protocol}`;
    if (spec.type === "ClusterIP" || spec.type === "ExternalName") {
      errors.push(forbiddenField(`${path}.nodePort`, `may not be used when 'type' is '${spec.type}'`));
    } else if (nodePorts.has(nodePort)) errors.push(duplicate(`${path}.nodePort`, port.nodePort));
    nodePorts.add(nodePort);
  }
  return errors;
}

function validatePortName(
  port: ServicePort,
  path: string,
  needed: boolean,
  names: Set<string>,
): FieldError[] {
  const name = port.name ?? "";
  if (name === "") return needed ? [required(`${path}.name`)] : [];
  const problem = checkDnsLabel(name);
  if (problem !== undefined) return [invalidValue(`${path}.name`, name, problem)];
  if (names.has(name)) return [duplicate(`${path}.name`, name)];
  names.add(name);
  return [];
}

function validateExternal(spec: ServiceSpec): FieldError[] {
  const errors: FieldError[] = [];
  for (const [i, text] of (spec.externalIPs ?? []).entries()) {
    const ip = Ip.tryParse(text);
    const path = `spec.externalIPs[${i}]`;
    if (ip === undefined) continue;
    if (ip.isUnspecified()) errors.push(invalidValue(path, text, "may not be unspecified (0.0.0.0 or ::)"));
    if (ip.isLoopback())
      errors.push(invalidValue(path, text, "may not be in the loopback range (127.0.0.0/8, ::1/128)"));
    if (ip.isLinkLocal()) {
      errors.push(invalidValue(path, text, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"));
    }
  }
  if (spec.externalTrafficPolicy !== undefined && !isExternal(spec)) {
    const path = "spec.externalTrafficPolicy";
    errors.push(
      invalidValue(path, spec.externalTrafficPolicy, "may only be set for externally-accessible services"),
    );
  }
  if (spec.healthCheckNodePort && !needsHealthPort(spec)) {
    const why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
    errors.push(invalidValue("spec.healthCheckNodePort", spec.healthCheckNodePort, why));
  }
  if (spec.type !== "LoadBalancer") {
    for (const key of ["allocateLoadBalancerNodePorts", "loadBalancerClass"] as const) {
      if (spec[key] === undefined) continue;
      errors.push(forbiddenField(`spec.${key}`, "may only be used when `type` is 'LoadBalancer'"));
    }
    if ((spec.loadBalancerSourceRanges ?? []).length > 0) {
      const why = "may only be used when `type` is 'LoadBalancer'";
      errors.push(forbiddenField("spec.LoadBalancerSourceRanges", why));
    }
  }
  return errors;
}

function validateAffinity(spec: ServiceSpec): FieldError[] {
  if (spec.sessionAffinity === "ClientIP" || spec.sessionAffinityConfig === undefined) return [];
  return [forbiddenField("spec.sessionAffinityConfig", "must not be set when session affinity is None")];
}
