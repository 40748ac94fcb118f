import type { CustomResourceDefinition, CustomResourceDefinitionVersion } from "../../kube/types.ts";
import type { Hooks } from "../resources/definition.ts";
import { checkDns1035Label, checkDnsLabel, checkDnsSubdomain } from "../schema/checks.ts";
import {
  duplicate,
  type FieldError,
  forbiddenField,
  invalidValue,
  notSupported,
  required,
} from "../status.ts";
import { fieldPath, parseJsonPath } from "./jsonpath.ts";
import { checkStructural } from "./structural.ts";

const COLUMN_TYPES = ["boolean", "date", "integer", "number", "string"];

export const definitionHooks: Hooks<CustomResourceDefinition> = {
  defaults: ({ spec }) => {
    spec.names.singular ??= spec.names.kind.toLowerCase();
    spec.names.listKind ??= `${spec.names.kind}List`;
    if (spec.preserveUnknownFields === false) delete spec.preserveUnknownFields;
  },
  prepareCreate: (definition, now) => {
    const { names, versions } = definition.spec;
    const condition = (type: string, reason: string, message: string) =>
      ({ type, status: "True", lastTransitionTime: now, reason, message }) as const;
    definition.status = {
      conditions: [
        condition("NamesAccepted", "NoConflicts", "no conflicts found"),
        condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
      ],
      acceptedNames: names,
      storedVersions: versions.filter(({ storage }) => storage).map(({ name }) => name),
    };
  },
  prepareUpdate: ({ spec, status }) => {
    if (status === undefined) return;
    status.acceptedNames = spec.names;
    const storage = spec.versions.find((version) => version.storage)?.name;
    if (storage !== undefined)
      status.storedVersions = [...new Set([...(status.storedVersions ?? []), storage])];
  },
  warnings: ({ spec }) =>
    spec.versions.filter(hasRules).map(({ name }) => {
      const field = `spec.versions[${name}].schema.openAPIV3Schema`;
      return `${field}: the rules of x-kubernetes-validations are kept, but this API server does not check them`;
    }),
  validate: (definition, old) => [...validateNames(definition, old), ...validateVersions(definition)],
};

const hasRules = ({ schema }: CustomResourceDefinitionVersion) =>
  JSON.stringify(schema ?? null).includes('"x-kubernetes-validations"');

function validateNames(
  definition: CustomResourceDefinition,
  old: CustomResourceDefinition | undefined,
): FieldError[] {
  const { metadata, spec } = definition;
  const { group, names, conversion } = spec;
  const errors: FieldError[] = [];
  const check = (field: string, value: string, problem: string | undefined) => {
    if (problem !== undefined) errors.push(invalidValue(field, value, problem));
  };
  check("spec.group", group, checkDnsSubdomain(group));
  if (!group.includes(".")) check("spec.group", group, "should be a domain with at least one dot");
  check("spec.names.plural", names.plural, checkDns1035Label(names.plural));
  check("spec.names.singular", names.singular ?? "", checkDns1035Label(names.singular ?? ""));
  check("spec.names.kind", names.kind, checkDns1035Label(names.kind.toLowerCase()));
  for (const [i, name] of (names.shortNames ?? []).entries()) {
    check(`spec.names.shortNames[${i}]`, name, checkDns1035Label(name));
  }
  const expected = `${names.plural}.${group}`;
  if (metadata.name !== expected)
    check("metadata.name", metadata.name, `must be spec.names.plural+"."+spec.group`);
  if (spec.preserveUnknownFields === true) {
    const why = "must be false: say x-kubernetes-preserve-unknown-fields in the schema instead";
    check("spec.preserveUnknownFields", "true", why);
  }
  if (conversion?.strategy === "Webhook") {
    const why = "conversion by webhooks is not served by this API server: use None";
    errors.push(forbiddenField("spec.conversion.strategy", why));
  }
  if (old !== undefined && old.spec.scope !== spec.scope)
    check("spec.scope", spec.scope, "field is immutable");
  if (old !== undefined && old.spec.names.kind !== names.kind)
    check("spec.names.kind", names.kind, "field is immutable");
  return errors;
}

function validateVersions({ spec, status }: CustomResourceDefinition): FieldError[] {
  const errors: FieldError[] = [];
  const names = new Set<string>();
  for (const [i, version] of spec.versions.entries()) {
    const path = `spec.versions[${i}]`;
    const problem = checkDnsLabel(version.name);
    if (problem !== undefined) errors.push(invalidValue(`${path}.name`, version.name, problem));
    if (names.has(version.name)) errors.push(duplicate(`${path}.name`, version.name));
    names.add(version.name);
    errors.push(...validateVersion(version, path));
  }
  if (spec.versions.filter(({ storage }) => storage).length !== 1) {
    errors.push(
      invalidValue("spec.versions", [...names], "must have exactly one version marked as storage version"),
    );
  }
  for (const stored of status?.storedVersions ?? []) {
    if (names.has(stored)) continue;
    const why = "must appear in spec.versions: objects may still be stored in it";
    errors.push(invalidValue("status.storedVersions", stored, why));
  }
  return errors;
}

function validateVersion(version: CustomResourceDefinitionVersion, path: string): FieldError[] {
  const errors: FieldError[] = [];
  const schema = version.schema?.openAPIV3Schema;
  const at = `${path}.schema.openAPIV3Schema`;
  if (schema === undefined) errors.push(required(at, "schemas are required"));
  else errors.push(...checkStructural(schema, at));
  for (const [i, column] of (version.additionalPrinterColumns ?? []).entries()) {
    const field = `${path}.additionalPrinterColumns[${i}]`;
    if (!COLUMN_TYPES.includes(column.type))
      errors.push(notSupported(`${field}.type`, column.type, COLUMN_TYPES));
    if (parseJsonPath(column.jsonPath) === undefined) {
      errors.push(invalidValue(`${field}.jsonPath`, column.jsonPath, "is not a JSON path"));
    }
  }
  const scale = version.subresources?.scale;
  const paths: [string, string | undefined, string][] = [
    ["specReplicasPath", scale?.specReplicasPath, "spec"],
    ["statusReplicasPath", scale?.statusReplicasPath, "status"],
    ["labelSelectorPath", scale?.labelSelectorPath, ""],
  ];
  for (const [key, value, root] of paths) {
    if (value === undefined) continue;
    const fields = fieldPath(parseJsonPath(value) ?? []);
    if (fields !== undefined && fields.length > 1 && (root === "" || fields[0] === root)) continue;
    const why = `should be a json path under .${root === "" ? "spec or .status" : root}`;
    errors.push(invalidValue(`${path}.subresources.scale.${key}`, value, why));
  }
  for (const [i, { jsonPath }] of (version.selectableFields ?? []).entries()) {
    if ((fieldPath(parseJsonPath(jsonPath) ?? []) ?? []).length > 0) continue;
    errors.push(
      invalidValue(`${path}.selectableFields[${i}].jsonPath`, jsonPath, "must be a simple path of fields"),
    );
  }
  return errors;
}
