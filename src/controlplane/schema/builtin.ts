import { parseTables } from "./notation.ts";
import type { Schema } from "./schema.ts";
import { appsTable, autoscalingTable, policyTable } from "./tables/apps.ts";
import { coreTable } from "./tables/core.ts";
import * as groups from "./tables/groups.ts";
import { metaTable } from "./tables/meta.ts";
import { discoveryTable, networkingTable } from "./tables/networking.ts";
import { podTable } from "./tables/pods.ts";
import { volumeTable } from "./tables/volumes.ts";

const definitions = parseTables([
  metaTable,
  podTable,
  volumeTable,
  coreTable,
  appsTable,
  autoscalingTable,
  policyTable,
  networkingTable,
  discoveryTable,
  groups.eventsTable,
  groups.coordinationTable,
  groups.rbacTable,
  groups.authorizationTable,
  groups.authenticationTable,
  groups.apiextensionsTable,
]);

/** The schema of a built-in type by its definition name, such as "io.k8s.api.core.v1.Pod"; undefined where there is none. */
export function findBuiltinSchema(definition: string): Schema | undefined {
  return definitions.get(definition);
}

/** As {@link findBuiltinSchema}, for names that are known. */
export function builtinSchema(definition: string): Schema {
  const schema = definitions.get(definition);
  if (schema === undefined) throw new TypeError(`no built-in schema "${definition}"`);
  return schema;
}

/** The schema of `metadata`, which is the same for all kinds, custom ones too. */
export const objectMetaSchema = builtinSchema("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
