import type { ObjectMeta } from "../../kube/types.ts";
import { type Dict, isDict, own } from "../objects.ts";
import { apiVersionOf, type ResourceType } from "../resources/definition.ts";
import { checkLabelValue, checkQualifiedName } from "../schema/checks.ts";
import { badRequest, type FieldError, forbiddenField, invalidValue, required } from "../status.ts";

const ANNOTATIONS_LIMIT = 256 * 1024;
/** Without vowels and look-alikes, as Kubernetes' own names have it. */
const ALPHABET = "bcdfghjklmnpqrstvwxz2456789";
const LONGEST_BASE = 58;

/** A name that begins with `prefix` and ends in five random characters. */
export function generateName(prefix: string): string {
  const random = crypto.getRandomValues(new Uint8Array(5));
  const suffix = [...random].map((byte) => ALPHABET[byte % ALPHABET.length]).join("");
  return prefix.slice(0, LONGEST_BASE) + suffix;
}

/**
 * Checks what identifies an object that a client sends against the path it is sent to, and fills what it leaves out.
 * Throws a Status of 400.
 */
export function identify(body: Dict, type: ResourceType, namespace: string, name?: string): void {
  const apiVersion = apiVersionOf(type);
  for (const [key, expected] of [
    ["apiVersion", apiVersion],
    ["kind", type.kind],
  ] as const) {
    const given = own(body, key) ?? "";
    if (given !== "" && given !== expected) {
      const what = key === "kind" ? "kind" : "API version";
      throw badRequest(
        `the ${what} in the data (${String(given)}) does not match the expected ${what} (${expected})`,
      );
    }
    body[key] = expected;
  }
  const metadata = own(body, "metadata") ?? {};
  if (!isDict(metadata)) throw badRequest("metadata must be an object");
  body.metadata = metadata;
  for (const key of ["name", "generateName", "namespace", "uid", "resourceVersion"]) {
    if (own(metadata, key) === "") delete metadata[key];
  }
  if (!type.namespaced) delete metadata.namespace;
  else if ((own(metadata, "namespace") ?? namespace) !== namespace) {
    throw badRequest("the namespace of the provided object does not match the namespace sent on the request");
  } else metadata.namespace = namespace;
  if (name !== undefined && (own(metadata, "name") ?? name) !== name) {
    const given = String(metadata.name);
    throw badRequest(`the name of the object (${given}) does not match the name on the URL (${name})`);
  }
  if (name !== undefined) metadata.name = name;
}

/** What is wrong with an object's metadata beyond its schema; `old` is what it was before an update. */
export function validateMetadata(
  metadata: ObjectMeta,
  type: ResourceType,
  old: ObjectMeta | undefined,
): FieldError[] {
  const errors: FieldError[] = [];
  if (metadata.name === undefined) errors.push(required("metadata.name", "name or generateName is required"));
  else {
    const problem = type.checkName(metadata.name);
    if (problem !== undefined) errors.push(invalidValue("metadata.name", metadata.name, problem));
  }
  for (const [key, value] of Object.entries(metadata.labels ?? {})) {
    const problem = checkQualifiedName(key);
    if (problem !== undefined) errors.push(invalidValue("metadata.labels", key, problem));
    const wrong = checkLabelValue(value);
    if (wrong !== undefined) errors.push(invalidValue("metadata.labels", value, wrong));
  }
  let size = 0;
  for (const [key, value] of Object.entries(metadata.annotations ?? {})) {
    size += key.length + value.length;
    const problem = checkQualifiedName(key.toLowerCase());
    if (problem !== undefined) errors.push(invalidValue("metadata.annotations", key, problem));
  }
  if (size > ANNOTATIONS_LIMIT) {
    const message = `Too long: may not be more than ${ANNOTATIONS_LIMIT} bytes`;
    errors.push({ reason: "FieldValueTooLong", field: "metadata.annotations", message });
  }
  for (const [i, finalizer] of (metadata.finalizers ?? []).entries()) {
    const problem = checkQualifiedName(finalizer);
    if (problem !== undefined) errors.push(invalidValue(`metadata.finalizers[${i}]`, finalizer, problem));
  }
  if (old?.deletionTimestamp !== undefined) {
    const added = (metadata.finalizers ?? []).filter((one) => old.finalizers?.includes(one) !== true);
    const names = added.map((one) => JSON.stringify(one)).join(", ");
    const why = `no new finalizers can be added if the object is being deleted, found new finalizers ${names}`;
    if (added.length > 0) errors.push(forbiddenField("metadata.finalizers", why));
  }
  const owners = metadata.ownerReferences ?? [];
  for (const [i, owner] of owners.entries()) {
    for (const key of ["apiVersion", "kind", "name", "uid"] as const) {
      if (owner[key] === "")
        errors.push(invalidValue(`metadata.ownerReferences[${i}].${key}`, "", "must not be empty"));
    }
  }
  if (owners.filter(({ controller }) => controller === true).length > 1) {
    const why = "Only one reference can have Controller set to true";
    errors.push(
      invalidValue(
        "metadata.ownerReferences",
        owners.map(({ name }) => name),
        why,
      ),
    );
  }
  return errors;
}

/** On an update, what the server owns of the metadata stays as it is. */
export function keepServerMetadata(metadata: ObjectMeta, old: ObjectMeta): void {
  for (const key of [
    "uid",
    "creationTimestamp",
    "generation",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generateName",
  ] as const) {
    if (old[key] === undefined) delete metadata[key];
    else Object.assign(metadata, { [key]: old[key] });
  }
}
