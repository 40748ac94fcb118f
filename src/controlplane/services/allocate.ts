import type { IPFamily, Service, ServiceSpec } from "../../kube/types.ts";
import { type Family, Ip } from "../../lib/ip.ts";
import { type FieldError, internalError, invalid, invalidValue } from "../status.ts";
import type { Refusal, ServiceAllocator } from "./allocator.ts";
import { isHeadless, needsHealthPort, needsNodePorts } from "./defaults.ts";

const POLICY = "spec.ipFamilyPolicy";
const FAMILIES = "spec.ipFamilies";
const ADDRESSES = "spec.clusterIPs";

const nameOf = (family: Family): IPFamily => (family === 4 ? "IPv4" : "IPv6");
const numberOf = (family: IPFamily): Family => (family === "IPv4" ? 4 : 6);
const keyOf = ({ metadata }: Service) => `${metadata.namespace}/${metadata.name}`;

/**
 * Settles a Service's families, ClusterIPs and NodePorts, in place: takes what it names if that can be had, and chooses
 * the rest. Nothing is held until the Service is stored. Throws a Status of 422, or 500 where a range is exhausted, as
 * Kubernetes does.
 */
export function allocateService(
  service: Service,
  old: Service | undefined,
  allocator: ServiceAllocator,
): void {
  const { spec } = service;
  const refuse = (...errors: FieldError[]) =>
    invalid({ group: "", kind: "Service" }, service.metadata.name, errors);
  if (spec.type !== "ExternalName") {
    const before = old?.spec.type === "ExternalName" ? undefined : old?.spec;
    const errors = [...checkUnchanged(spec, before), ...settleFamilies(spec, before, allocator)];
    if (errors.length > 0) throw refuse(...errors);
    settleAddresses(service, allocator, refuse);
  }
  settleNodePorts(service, allocator, refuse);
}

/** The primary ClusterIP and family stay for a Service's life. */
function checkUnchanged(spec: ServiceSpec, old: ServiceSpec | undefined): FieldError[] {
  const errors: FieldError[] = [];
  if (spec.clusterIP !== undefined && spec.clusterIPs?.[0] !== spec.clusterIP) {
    errors.push(invalidValue(ADDRESSES, spec.clusterIPs ?? [], "first value must match `clusterIP`"));
  }
  if (spec.clusterIP === undefined && spec.clusterIPs !== undefined) {
    errors.push(invalidValue(ADDRESSES, spec.clusterIPs, "must be empty when `clusterIP` is not specified"));
  }
  if (old === undefined) return errors;
  if (old.clusterIP !== undefined && spec.clusterIP !== old.clusterIP) {
    errors.push(invalidValue("spec.clusterIPs[0]", spec.clusterIPs ?? [], "may not change once set"));
  }
  const [first, second] = [old.clusterIPs?.[1], spec.clusterIPs?.[1]];
  if (first !== undefined && second !== undefined && first !== second) {
    errors.push(invalidValue("spec.clusterIPs[1]", spec.clusterIPs, "may not change once set"));
  }
  if (old.ipFamilies?.[0] !== undefined && spec.ipFamilies?.[0] !== old.ipFamilies[0]) {
    errors.push(invalidValue("spec.ipFamilies[0]", spec.ipFamilies?.[0], "may not change once set"));
  }
  return errors;
}

/** Settles `ipFamilyPolicy` and `ipFamilies`, from each other and from the addresses that are named. */
function settleFamilies(
  spec: ServiceSpec,
  old: ServiceSpec | undefined,
  allocator: ServiceAllocator,
): FieldError[] {
  const served = allocator.families.map(nameOf);
  releaseSecond(spec, old);
  const families = [...(spec.ipFamilies ?? [])];
  const errors = checkFamilies(spec, families, served);
  if (errors.length > 0) return errors;
  const dual = families.length === 2 || (spec.clusterIPs ?? []).length === 2;
  const anyFamily = isHeadless(spec) && Object.keys(spec.selector ?? {}).length === 0;
  spec.ipFamilyPolicy ??= dual || anyFamily ? "RequireDualStack" : "SingleStack";
  if (spec.ipFamilyPolicy === "SingleStack" && dual) {
    const why =
      "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families or ClusterIPs are specified";
    return [invalidValue(POLICY, spec.ipFamilyPolicy, why)];
  }
  if (spec.ipFamilyPolicy === "RequireDualStack" && served.length < 2 && !anyFamily) {
    return [
      invalidValue(POLICY, spec.ipFamilyPolicy, "this cluster is not configured for dual-stack services"),
    ];
  }
  if (families.length === 0) families.push(served[0] as IPFamily);
  const second: IPFamily = families[0] === "IPv4" ? "IPv6" : "IPv4";
  const wanted = spec.ipFamilyPolicy !== "SingleStack" && families.length === 1;
  if (wanted && (served.includes(second) || anyFamily)) families.push(second);
  spec.ipFamilies = families;
  return [];
}

/** A change to SingleStack gives up the second family, where the client sent it back as it was. */
function releaseSecond(spec: ServiceSpec, old: ServiceSpec | undefined): void {
  if (spec.ipFamilyPolicy !== "SingleStack" || old === undefined || old.ipFamilyPolicy === "SingleStack")
    return;
  if (Bun.deepEquals(spec.clusterIPs, old.clusterIPs)) spec.clusterIPs = spec.clusterIPs?.slice(0, 1) ?? [];
  if (Bun.deepEquals(spec.ipFamilies, old.ipFamilies)) spec.ipFamilies = spec.ipFamilies?.slice(0, 1) ?? [];
}

/** Checks the families that are named against those served and those of the addresses; adds the latter to the list. */
function checkFamilies(spec: ServiceSpec, families: IPFamily[], served: readonly IPFamily[]): FieldError[] {
  const errors: FieldError[] = [];
  const anyFamily = isHeadless(spec) && Object.keys(spec.selector ?? {}).length === 0;
  for (const [i, family] of families.entries()) {
    const path = `${FAMILIES}[${i}]`;
    if (family !== "IPv4" && family !== "IPv6")
      errors.push(invalidValue(path, family, "must be IPv4 or IPv6"));
    else if (families.indexOf(family) !== i)
      errors.push(invalidValue(path, family, "may not be listed twice"));
    else if (!served.includes(family) && !anyFamily) {
      errors.push(invalidValue(path, family, "not configured on this cluster"));
    }
  }
  if ((spec.clusterIPs ?? []).length > 2) {
    errors.push(invalidValue(ADDRESSES, spec.clusterIPs, "may only hold up to 2 values"));
  }
  if (isHeadless(spec)) {
    if ((spec.clusterIPs ?? []).length > 1) {
      errors.push(invalidValue(ADDRESSES, spec.clusterIPs, "'None' must be the first and only value"));
    }
    return errors;
  }
  for (const [i, text] of (spec.clusterIPs ?? []).entries()) {
    const ip = Ip.tryParse(text);
    const path = `${ADDRESSES}[${i}]`;
    if (ip === undefined) {
      errors.push(invalidValue(path, text, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"));
      continue;
    }
    const family = nameOf(ip.family);
    if (families[i] === undefined && !families.includes(family)) families.push(family);
    else if (families[i] !== family) {
      errors.push(
        invalidValue(
          path,
          text,
          `expected an ${families[i] ?? "other"} value as indicated by \`ipFamilies[${i}]\``,
        ),
      );
    }
    if (!served.includes(family))
      errors.push(invalidValue(path, text, `${family} is not configured on this cluster`));
  }
  return errors;
}

function settleAddresses(
  service: Service,
  allocator: ServiceAllocator,
  refuse: (...errors: FieldError[]) => Error,
): void {
  const { spec } = service;
  if (isHeadless(spec)) {
    spec.clusterIP = "None";
    spec.clusterIPs = ["None"];
    return;
  }
  const given = spec.clusterIPs ?? [];
  spec.clusterIPs = (spec.ipFamilies ?? []).map((family, i) => {
    const text = given[i];
    if (text !== undefined) {
      const ip = Ip.parse(text);
      const problem = allocator.checkAddress(ip, keyOf(service));
      if (problem !== undefined) {
        const range = allocator.cidrs.find((cidr) => cidr.family === ip.family);
        throw refuse(
          invalidValue(
            ADDRESSES,
            given,
            `failed to allocate IP ${text}: ${whyNot(problem, `IP (${text})`, String(range))}`,
          ),
        );
      }
      return ip.toString();
    }
    const free = allocator.freeAddress(numberOf(family));
    if (free instanceof Ip) return free.toString();
    throw internalError(`failed to allocate a serviceIP: range is full (${family})`);
  });
  spec.clusterIP = spec.clusterIPs[0] as string;
}

function settleNodePorts(
  service: Service,
  allocator: ServiceAllocator,
  refuse: (...errors: FieldError[]) => Error,
): void {
  const { spec } = service;
  const range = `${allocator.nodePorts[0]}-${allocator.nodePorts[1]}`;
  const named = new Set<number>();
  const check = (port: number, path: string) => {
    const problem = allocator.checkPort(port, keyOf(service));
    if (problem !== undefined) throw refuse(invalidValue(path, port, whyNot(problem, "port", range)));
    named.add(port);
  };
  const choose = (): number => {
    const free = allocator.freePort(named);
    if (typeof free !== "number") throw internalError("failed to allocate a nodePort: range is full");
    named.add(free);
    return free;
  };
  const exposed = spec.type === "NodePort" || spec.type === "LoadBalancer";
  for (const [i, port] of (exposed ? (spec.ports ?? []) : []).entries()) {
    if (port.nodePort !== undefined) check(port.nodePort, `spec.ports[${i}].nodePort`);
  }
  if (spec.healthCheckNodePort) check(spec.healthCheckNodePort, "spec.healthCheckNodePort");
  if (needsNodePorts(spec)) {
    for (const port of spec.ports ?? []) port.nodePort ??= twin(spec, port.port) ?? choose();
  }
  if (needsHealthPort(spec)) spec.healthCheckNodePort ||= choose();
}

/** The NodePort of the same port in another protocol, which is shared, as DNS wants it. */
function twin(spec: ServiceSpec, port: number): number | undefined {
  return spec.ports?.find((other) => other.port === port && other.nodePort !== undefined)?.nodePort;
}

function whyNot(refusal: Refusal, what: string, range: string): string {
  if (refusal === "taken")
    return what === "port" ? "provided port is already allocated" : "provided IP is already allocated";
  const unit = what === "port" ? "ports" : "IPs";
  return `the provided ${what} is not in the valid range. The range of valid ${unit} is ${range}`;
}
