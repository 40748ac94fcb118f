import { apiVersionOf, type ResourceType } from "./definition.ts";

/** A group as discovery shows it: its versions, the preferred one first. */
export interface Group {
  readonly name: string;
  readonly versions: readonly string[];
}

/** Which resources are served at the moment. */
export class Registry {
  readonly #types = new Map<string, ResourceType>();
  #generation = 0;

  constructor(types: readonly ResourceType[]) {
    for (const type of types) this.#types.set(pathOf(type.group, type.version, type.plural), type);
  }

  /** Changes with every change of what is served: for caches of what is computed from it. */
  get generation(): number {
    return this.#generation;
  }

  get(group: string, version: string, plural: string): ResourceType | undefined {
    return this.#types.get(pathOf(group, version, plural));
  }

  /** The resource of a kind, as an object's apiVersion and kind name it. */
  byKind(apiVersion: string, kind: string): ResourceType | undefined {
    return this.all().find((type) => apiVersionOf(type) === apiVersion && type.kind === kind);
  }

  all(): ResourceType[] {
    return [...this.#types.values()];
  }

  inGroupVersion(group: string, version: string): ResourceType[] {
    return this.all().filter((type) => type.group === group && type.version === version);
  }

  /** All groups but the core one, in the order of their first resource. */
  groups(): Group[] {
    const groups = new Map<string, string[]>();
    for (const { group, version } of this.#types.values()) {
      if (group === "") continue;
      const versions = groups.get(group) ?? [];
      if (!versions.includes(version)) versions.push(version);
      groups.set(group, versions);
    }
    return [...groups].map(([name, versions]) => ({ name, versions: versions.toSorted(compareVersions) }));
  }

  /** Puts these in the place of all that have the same storage: the versions of one custom resource. */
  replace(storage: string, types: readonly ResourceType[]): void {
    for (const [path, type] of this.#types)
      if (type.custom && type.storage === storage) this.#types.delete(path);
    for (const type of types) this.#types.set(pathOf(type.group, type.version, type.plural), type);
    this.#generation++;
  }
}

const pathOf = (group: string, version: string, plural: string) => `${group}/${version}/${plural}`;

/** Kubernetes' order of preference: v2, v1, v1beta2, v1beta1, v1alpha1, and then others by name. */
export function compareVersions(a: string, b: string): number {
  const [left, right] = [rank(a), rank(b)];
  for (let i = 0; i < left.length; i++) {
    const difference = (right[i] as number) - (left[i] as number);
    if (difference !== 0) return difference;
  }
  return a < b ? -1 : a > b ? 1 : 0;
}

function rank(version: string): [stability: number, major: number, minor: number] {
  const match = /^v([1-9]\d*)(?:(alpha|beta)([1-9]\d*))?$/.exec(version);
  if (match === null) return [0, 0, 0];
  const stability = match[2] === undefined ? 3 : match[2] === "beta" ? 2 : 1;
  return [stability, Number(match[1]), Number(match[3] ?? 0)];
}
