import type {
  ConfigMap,
  ControllerRevision,
  EndpointSlice,
  Event,
  KubeObject,
  Namespace,
  NetworkPolicy,
  Node,
  Secret,
} from "../../kube/types.ts";
import { Ip } from "../../lib/ip.ts";
import { Prefix } from "../../lib/prefix.ts";
import { type ApiObject, dictAt, isDict } from "../objects.ts";
import { checkDnsLabel } from "../schema/checks.ts";
import { type FieldError, forbiddenField, invalidValue, required } from "../status.ts";
import type { Hooks } from "./definition.ts";

export const namespaceHooks: Hooks<Namespace> = {
  defaults: ({ metadata }) => {
    metadata.labels = { ...metadata.labels, "kubernetes.io/metadata.name": metadata.name };
  },
  prepareCreate: (namespace) => {
    const finalizers = namespace.spec?.finalizers ?? [];
    namespace.spec = { finalizers: [...new Set([...finalizers, "kubernetes"])] };
    namespace.status = { phase: "Active" };
  },
  // Only the subresource "finalize" changes them.
  prepareUpdate: (namespace, old) => {
    if (old.spec !== undefined) namespace.spec = old.spec;
  },
};

export const nodeHooks: Hooks<Node> = {
  defaults: ({ spec }) => {
    if (spec === undefined) return;
    if (spec.podCIDRs === undefined && spec.podCIDR) spec.podCIDRs = [spec.podCIDR];
    if (spec.podCIDRs?.[0] !== undefined) spec.podCIDR ??= spec.podCIDRs[0];
  },
  validate: ({ spec = {} }, old) => {
    const errors: FieldError[] = [];
    const { podCIDR, podCIDRs = [] } = spec;
    if (podCIDR !== undefined && podCIDRs[0] !== podCIDR) {
      errors.push(invalidValue("spec.podCIDRs", podCIDRs, "first value must match `podCIDR`"));
    }
    const families = podCIDRs.map((cidr) => Prefix.parse(cidr).family);
    if (families.length > 2 || new Set(families).size < families.length) {
      errors.push(
        invalidValue("spec.podCIDRs", podCIDRs, "may specify no more than one CIDR for each IP family"),
      );
    }
    const before = old?.spec?.podCIDRs ?? [];
    if (before.length > 0 && !Bun.deepEquals(before, podCIDRs)) {
      errors.push(
        forbiddenField("spec.podCIDRs", 'node updates may not change podCIDR except from "" to valid'),
      );
    }
    const taints = new Set<string>();
    for (const [i, { key, effect }] of (spec.taints ?? []).entries()) {
      const name = `${key}:${effect}`;
      if (taints.has(name))
        errors.push(invalidValue(`spec.taints[${i}]`, name, "taints must be unique by key and effect"));
      taints.add(name);
    }
    return errors;
  },
};

const DATA_LIMIT = 1024 * 1024;
const KEY = /^[-._a-zA-Z0-9]{1,253}$/;

function validateData(maps: Record<string, Record<string, string> | undefined>): FieldError[] {
  const errors: FieldError[] = [];
  let size = 0;
  for (const [field, map] of Object.entries(maps)) {
    for (const [key, value] of Object.entries(map ?? {})) {
      size += value.length;
      if (!KEY.test(key) || key === "." || key.startsWith("..")) {
        const why =
          "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name')";
        errors.push(invalidValue(`${field}[${key}]`, key, why));
      }
    }
  }
  const first = Object.keys(maps)[0] as string;
  if (size > DATA_LIMIT) {
    errors.push({
      reason: "FieldValueTooLong",
      field: first,
      message: `Too long: may not be more than ${DATA_LIMIT} bytes`,
    });
  }
  return errors;
}

function immutableData<T extends { immutable?: boolean }>(
  now: T,
  old: T | undefined,
  keys: (keyof T & string)[],
) {
  if (old?.immutable !== true) return [];
  const changed = ["immutable" as keyof T & string, ...keys].filter(
    (key) => !Bun.deepEquals(now[key], old[key]),
  );
  return changed.map((key) => forbiddenField(key, "field is immutable when `immutable` is set"));
}

export const configMapHooks: Hooks<ConfigMap> = {
  validate: (map, old) => {
    const errors = validateData({ data: map.data, binaryData: map.binaryData });
    for (const key of Object.keys(map.binaryData ?? {})) {
      if (map.data === undefined || !Object.hasOwn(map.data, key)) continue;
      errors.push(invalidValue(`data[${key}]`, key, "duplicate of key present in binaryData"));
    }
    return [...errors, ...immutableData(map, old, ["data", "binaryData"])];
  },
};

export const secretHooks: Hooks<Secret> = {
  defaults: (secret) => {
    if (secret.stringData === undefined) return;
    const given = Object.entries(secret.stringData).map(([key, text]) => [
      key,
      Buffer.from(text).toString("base64"),
    ]);
    secret.data = { ...secret.data, ...Object.fromEntries(given) };
    delete secret.stringData;
  },
  validate: (secret, old) => {
    const errors = [...validateData({ data: secret.data }), ...immutableData(secret, old, ["data"])];
    if (old !== undefined && old.type !== secret.type) {
      errors.push(invalidValue("type", secret.type, "field is immutable"));
    }
    return errors;
  },
};

export const endpointSliceHooks: Hooks<EndpointSlice> = {
  validate: (slice, old) => {
    const errors: FieldError[] = [];
    if (old !== undefined && old.addressType !== slice.addressType) {
      errors.push(invalidValue("addressType", slice.addressType, "field is immutable"));
    }
    for (const [i, { addresses, hostname }] of slice.endpoints.entries()) {
      const path = `endpoints[${i}]`;
      if (addresses.length === 0)
        errors.push(required(`${path}.addresses`, "must contain at least 1 address"));
      for (const [j, address] of addresses.entries()) {
        const family = Ip.tryParse(address)?.family;
        const fits = slice.addressType === "FQDN" || family === (slice.addressType === "IPv4" ? 4 : 6);
        if (!fits)
          errors.push(
            invalidValue(`${path}.addresses[${j}]`, address, `must be a valid ${slice.addressType} address`),
          );
      }
      const problem = hostname === undefined ? undefined : checkDnsLabel(hostname);
      if (problem !== undefined) errors.push(invalidValue(`${path}.hostname`, hostname, problem));
    }
    return errors;
  },
};

export const networkPolicyHooks: Hooks<NetworkPolicy> = {
  defaults: ({ spec }) => {
    if ((spec.policyTypes ?? []).length > 0) return;
    spec.policyTypes = (spec.egress ?? []).length > 0 ? ["Ingress", "Egress"] : ["Ingress"];
  },
  validate: ({ spec }) => {
    const errors: FieldError[] = [];
    const rules = [
      ...(spec.ingress ?? []).map((rule, i) => ({
        path: `spec.ingress[${i}]`,
        ports: rule.ports,
        peers: rule.from,
        key: "from",
      })),
      ...(spec.egress ?? []).map((rule, i) => ({
        path: `spec.egress[${i}]`,
        ports: rule.ports,
        peers: rule.to,
        key: "to",
      })),
    ];
    for (const { path, ports = [], peers = [], key } of rules) {
      for (const [i, { port, endPort }] of ports.entries()) {
        const at = `${path}.ports[${i}].endPort`;
        if (endPort === undefined) continue;
        if (typeof port !== "number")
          errors.push(required(`${path}.ports[${i}].port`, "must be a number when `endPort` is set"));
        else if (endPort < port)
          errors.push(invalidValue(at, endPort, "must be greater than or equal to `port`"));
      }
      for (const [i, peer] of peers.entries()) {
        const at = `${path}.${key}[${i}]`;
        if (Object.keys(peer).length === 0) errors.push(required(at, "must specify a peer"));
        if (peer.ipBlock === undefined) continue;
        if (Object.keys(peer).length > 1)
          errors.push(forbiddenField(at, "may not specify both ipBlock and another peer"));
        const block = Prefix.parse(peer.ipBlock.cidr);
        for (const [j, text] of (peer.ipBlock.except ?? []).entries()) {
          const except = Prefix.parse(text);
          if (block.contains(except) && except.length > block.length) continue;
          const why = `must be a strict subset of \`cidr\`: ${JSON.stringify(peer.ipBlock.cidr)}`;
          errors.push(invalidValue(`${at}.ipBlock.except[${j}]`, text, why));
        }
      }
    }
    return errors;
  },
};

export const eventHooks: Hooks<Event> = {
  validate: ({ involvedObject, metadata }) => {
    const namespace = involvedObject.namespace ?? "default";
    if (metadata.namespace === namespace || involvedObject.namespace === undefined) return [];
    return [
      invalidValue("involvedObject.namespace", involvedObject.namespace, "does not match event.namespace"),
    ];
  },
};

/** The names of the fields that core/v1 and events.k8s.io/v1 call differently: [the core one, the new one]. */
const eventFields = [
  ["message", "note"],
  ["involvedObject", "regarding"],
  ["reportingComponent", "reportingController"],
  ["source", "deprecatedSource"],
  ["firstTimestamp", "deprecatedFirstTimestamp"],
  ["lastTimestamp", "deprecatedLastTimestamp"],
  ["count", "deprecatedCount"],
] as const;

/** events.k8s.io/v1: another form of the same objects. */
export const newEventHooks: Hooks<KubeObject> = {
  toStorage: (event) => {
    for (const [core, recent] of eventFields) rename(event, recent, core);
    event.involvedObject ??= {};
  },
  fromStorage: (stored) => {
    const event: ApiObject = { ...stored, apiVersion: "events.k8s.io/v1" };
    for (const [core, recent] of eventFields) rename(event, core, recent);
    if (isDict(event.deprecatedSource) && Object.keys(event.deprecatedSource).length === 0) {
      delete event.deprecatedSource;
    }
    return event;
  },
};

function rename(event: ApiObject, from: string, to: string): void {
  if (event[from] === undefined) return;
  event[to] = event[from];
  delete event[from];
}

export const revisionHooks: Hooks<ControllerRevision> = {
  validate: ({ data }, old) => {
    if (old === undefined || Bun.deepEquals(data, old.data)) return [];
    return [invalidValue("data", data, "field is immutable")];
  },
};

/** The rule of a binding stays: whom it binds may change, what it grants may not. */
export const roleBindingHooks: Hooks<KubeObject> = {
  validate: (binding, old) => {
    if (old === undefined || Bun.deepEquals(dictAt(binding, "roleRef"), dictAt(old, "roleRef"))) return [];
    return [invalidValue("roleRef", dictAt(binding, "roleRef"), "cannot change roleRef")];
  },
};
