import type {
  CustomResourceColumn,
  CustomResourceDefinition,
  CustomResourceDefinitionVersion,
  KubeObject,
} from "../../kube/types.ts";
import { type ApiObject, at } from "../objects.ts";
import {
  allVerbs,
  type Cell,
  type Column,
  type ResourceType,
  type ScalePaths,
} from "../resources/definition.ts";
import { checkDnsSubdomain } from "../schema/checks.ts";
import type { Schema } from "../schema/schema.ts";
import { ageColumn, nameColumn, since } from "../table/columns.ts";
import { evaluate, fieldPath, type JsonPath, parseJsonPath } from "./jsonpath.ts";

/** The resources that a CustomResourceDefinition brings: one for each version that is served. */
export function customTypes(definition: CustomResourceDefinition): ResourceType[] {
  const { group, names, scope, versions } = definition.spec;
  const storageVersion = versions.find(({ storage }) => storage)?.name ?? "";
  const terminating = definition.metadata.deletionTimestamp !== undefined;
  return versions
    .filter(({ served }) => served)
    .map((version) => ({
      group,
      version: version.name,
      plural: names.plural,
      singular: names.singular ?? names.kind.toLowerCase(),
      kind: names.kind,
      listKind: names.listKind ?? `${names.kind}List`,
      shortNames: names.shortNames ?? [],
      categories: names.categories ?? [],
      namespaced: scope === "Namespaced",
      verbs: terminating ? allVerbs.filter((verb) => verb !== "create") : allVerbs,
      storage: definition.metadata.name,
      storageVersion: `${group}/${storageVersion}`,
      schema: {
        ...(version.schema?.openAPIV3Schema as Schema),
        definition: `${group.split(".").toReversed().join(".")}.${version.name}.${names.kind}`,
      },
      custom: true,
      status: version.subresources?.status !== undefined,
      keepsStatus: false,
      scale: scaleOf(version),
      columns: columnsOf(version),
      fields: fieldsOf(version),
      generation: true,
      checkName: checkDnsSubdomain,
      hooks: {},
      deprecationWarning: deprecationOf(definition, version),
    }));
}

function scaleOf({ subresources }: CustomResourceDefinitionVersion): ScalePaths | undefined {
  const scale = subresources?.scale;
  if (scale === undefined) return undefined;
  const keys = (text: string | undefined) => fieldPath(parseJsonPath(text ?? "") ?? []) ?? [];
  const selector = keys(scale.labelSelectorPath);
  return {
    specReplicas: keys(scale.specReplicasPath),
    statusReplicas: keys(scale.statusReplicasPath),
    selector: (object: ApiObject) => {
      const found = selector.length === 0 ? undefined : at(object, ...selector);
      return typeof found === "string" ? found : undefined;
    },
  };
}

function fieldsOf({ selectableFields = [] }: CustomResourceDefinitionVersion): Record<string, string> {
  return Object.fromEntries(selectableFields.map(({ jsonPath }) => [jsonPath.replace(/^\./, ""), ""]));
}

function columnsOf({ additionalPrinterColumns = [] }: CustomResourceDefinitionVersion): Column[] {
  const columns =
    additionalPrinterColumns.length === 0
      ? [nameColumn, ageColumn]
      : [nameColumn, ...additionalPrinterColumns.map(columnOf)];
  return columns as Column<KubeObject>[] as unknown as Column[];
}

function columnOf(column: CustomResourceColumn): Column<KubeObject> {
  const path = parseJsonPath(column.jsonPath) ?? [];
  return {
    name: column.name,
    type: column.type as Column["type"],
    ...(column.format === undefined ? {} : { format: column.format }),
    description:
      column.description ?? `Custom resource definition column (in JSONPath format): ${column.jsonPath}`,
    priority: column.priority ?? 0,
    value: (object, now) => cellOf(object, path, column.type, now),
  };
}

function cellOf(object: unknown, path: JsonPath, type: string, now: number): Cell {
  const values = evaluate(object, path);
  const [first] = values;
  if (first === undefined || first === null) return type === "date" ? "<unknown>" : null;
  switch (type) {
    case "integer":
      return typeof first === "number" ? Math.trunc(first) : null;
    case "number":
      return typeof first === "number" ? first : null;
    case "boolean":
      return typeof first === "boolean" ? first : null;
    case "date":
      return since(String(first), now);
    default: {
      const text = (value: unknown) => (typeof value === "string" ? value : JSON.stringify(value));
      return values.map(text).join(",");
    }
  }
}

function deprecationOf(
  { spec }: CustomResourceDefinition,
  version: CustomResourceDefinitionVersion,
): string | undefined {
  if (version.deprecated !== true) return undefined;
  return version.deprecationWarning ?? `${spec.group}/${version.name} ${spec.names.kind} is deprecated`;
}
