import { parseTables } from "./notation.ts";
import type { Schema } from "./schema.ts";
import { coreTable } from "./tables/core.ts";
import * as groups from "./tables/groups.ts";
import { metaTable } from "./tables/meta.ts";
import { podTable } from "./tables/pods.ts";

const definitions = parseTables([
  metaTable,
  podTable,
  coreTable,
  groups.appsTable,
  groups.networkingTable,
  groups.discoveryTable,
  groups.eventsTable,
  groups.coordinationTable,
  groups.rbacTable,
  groups.policyTable,
  groups.apiextensionsTable,
  groups.autoscalingTable,
]);

/** The schema of a built-in type by its definition name, such as "io.k8s.api.core.v1.Pod". */
export function builtinSchema(definition: string): Schema {
  const schema = definitions.get(definition);
  if (schema === undefined) throw new TypeError(`no built-in schema "${definition}"`);
  return schema;
}

/** The schema of `metadata`, which is the same for all kinds, custom ones too. */
export const objectMetaSchema = builtinSchema("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
