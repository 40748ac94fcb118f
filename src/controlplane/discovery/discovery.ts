import { apiVersionOf, type ResourceType, type Verb } from "../resources/definition.ts";
import type { Registry } from "../resources/registry.ts";
import { reviews } from "../subresources/reviews.ts";

/** One entry of a group version's list: a resource, or (with a slash in its name) a subresource. */
interface Entry {
  readonly name: string;
  readonly kind: string;
  readonly namespaced: boolean;
  readonly verbs: readonly string[];
  readonly singular?: string;
  readonly shortNames?: readonly string[];
  readonly categories?: readonly string[];
  /** Of the subresource's body, where it differs from the resource's. */
  readonly group?: string;
  readonly version?: string;
}

const partVerbs: readonly Verb[] = ["get", "patch", "update"];

/** All that a group version serves. */
function entriesOf(registry: Registry, group: string, version: string): Entry[] {
  const stored = registry.inGroupVersion(group, version).flatMap(entriesOfType);
  const asked = reviews.filter((review) => review.group === group && review.version === version);
  return [
    ...stored,
    ...asked.map(({ plural, kind, namespaced }) => ({
      name: plural,
      singular: kind.toLowerCase(),
      kind,
      namespaced,
      verbs: ["create"],
    })),
  ];
}

function entriesOfType(type: ResourceType): Entry[] {
  const { plural, kind, namespaced, verbs, singular, shortNames, categories, storage } = type;
  const sub = (name: string, body: Partial<Entry> & { verbs: readonly string[] }): Entry => ({
    name: `${plural}/${name}`,
    kind,
    namespaced,
    ...body,
  });
  const entries: Entry[] = [{ name: plural, kind, namespaced, verbs, singular, shortNames, categories }];
  if (storage === "pods") {
    entries.push(
      sub("binding", { kind: "Binding", verbs: ["create"] }),
      sub("eviction", { kind: "Eviction", group: "policy", version: "v1", verbs: ["create"] }),
    );
  }
  if (storage === "serviceaccounts") {
    entries.push(
      sub("token", {
        kind: "TokenRequest",
        group: "authentication.k8s.io",
        version: "v1",
        verbs: ["create"],
      }),
    );
  }
  if (storage === "namespaces") entries.push(sub("finalize", { verbs: ["update"] }));
  if (type.scale !== undefined) {
    entries.push(sub("scale", { kind: "Scale", group: "autoscaling", version: "v1", verbs: partVerbs }));
  }
  if (type.status) entries.push(sub("status", { verbs: partVerbs }));
  return entries;
}

/** The groups beside the core one, those that only answer reviews included. */
function groupsOf(registry: Registry): { name: string; versions: readonly string[] }[] {
  const groups = registry.groups();
  for (const { group, version } of reviews) {
    if (!groups.some(({ name }) => name === group)) groups.push({ name: group, versions: [version] });
  }
  return groups;
}

const versionOf = (group: string) => (version: string) => ({ groupVersion: `${group}/${version}`, version });

function groupDocument({ name, versions }: { name: string; versions: readonly string[] }) {
  const all = versions.map(versionOf(name));
  return { name, versions: all, preferredVersion: all[0] };
}

/** /apis. */
export function groupList(registry: Registry): unknown {
  return { kind: "APIGroupList", apiVersion: "v1", groups: groupsOf(registry).map(groupDocument) };
}

/** /apis/GROUP; undefined where there is no such group. */
export function groupOf(registry: Registry, name: string): unknown {
  const group = groupsOf(registry).find((candidate) => candidate.name === name);
  return group === undefined ? undefined : { kind: "APIGroup", apiVersion: "v1", ...groupDocument(group) };
}

/** /api/v1 and /apis/GROUP/VERSION; undefined where there is no such version. */
export function resourceList(registry: Registry, group: string, version: string): unknown {
  const entries = entriesOf(registry, group, version);
  if (entries.length === 0) return undefined;
  return {
    kind: "APIResourceList",
    apiVersion: "v1",
    groupVersion: apiVersionOf({ group, version }),
    resources: entries.map(
      ({ name, singular = "", namespaced, kind, verbs, shortNames = [], categories = [], ...body }) => ({
        name,
        singularName: singular,
        namespaced,
        ...(body.group === undefined ? {} : { group: body.group, version: body.version }),
        kind,
        verbs,
        ...(shortNames.length === 0 ? {} : { shortNames }),
        ...(categories.length === 0 ? {} : { categories }),
      }),
    ),
  };
}

/** /api. */
export function legacyVersions(host: string): unknown {
  return {
    kind: "APIVersions",
    versions: ["v1"],
    serverAddressByClientCIDRs: [{ clientCIDR: "0.0.0.0/0", serverAddress: host }],
  };
}

/** The aggregated form of /api or /apis (KEP-3352): all groups, versions and resources in one document. */
export function aggregated(registry: Registry, core: boolean, version: string): unknown {
  const groups = core ? [{ name: "", versions: ["v1"] }] : groupsOf(registry);
  return {
    kind: "APIGroupDiscoveryList",
    apiVersion: `apidiscovery.k8s.io/${version}`,
    metadata: {},
    items: groups.map(({ name, versions }) => ({
      metadata: { name, creationTimestamp: null },
      versions: versions.map((item) => ({
        version: item,
        resources: aggregatedResources(entriesOf(registry, name, item), name, item),
        freshness: "Current",
      })),
    })),
  };
}

function aggregatedResources(entries: readonly Entry[], group: string, version: string): unknown[] {
  const kindOf = (entry: Entry) => ({
    group: entry.group ?? group,
    version: entry.version ?? version,
    kind: entry.kind,
  });
  return entries
    .filter(({ name }) => !name.includes("/"))
    .map((entry) => {
      const parts = entries.filter(({ name }) => name.startsWith(`${entry.name}/`));
      return {
        resource: entry.name,
        responseKind: kindOf(entry),
        scope: entry.namespaced ? "Namespaced" : "Cluster",
        singularResource: entry.singular ?? "",
        verbs: entry.verbs,
        ...((entry.shortNames ?? []).length === 0 ? {} : { shortNames: entry.shortNames }),
        ...((entry.categories ?? []).length === 0 ? {} : { categories: entry.categories }),
        ...(parts.length === 0
          ? {}
          : {
              subresources: parts.map((part) => ({
                subresource: part.name.slice(entry.name.length + 1),
                responseKind: kindOf(part),
                verbs: part.verbs,
              })),
            }),
      };
    });
}
