import { type ApiObject, type Dict, isDict, own } from "../objects.ts";
import type { Schema } from "../schema/schema.ts";
import { StatusError } from "../status.ts";
import {
  differences,
  differing,
  type FieldSet,
  fieldsOf,
  isEmpty,
  overlay,
  pathsOf,
  subtract,
  union,
  without,
} from "./fields.ts";

/** One entry of `metadata.managedFields`, read. */
interface Manager {
  readonly manager: string;
  readonly operation: "Apply" | "Update";
  readonly apiVersion: string;
  readonly subresource: string;
  readonly time: string;
  readonly fields: FieldSet;
}

export interface ApplyRequest {
  readonly manager: string;
  /** Take fields over from other managers. */
  readonly force: boolean;
  readonly apiVersion: string;
  /** RFC 3339. */
  readonly now: string;
}

/** Who owned what was there before anybody applied: the same name as Kubernetes gives them. */
const BEFORE = "before-first-apply";

/** The parts of an object that can be owned: not what identifies it, nor what the server sets. */
function ownable(object: Dict): Dict {
  const { apiVersion: _version, kind: _kind, metadata, ...rest } = object;
  if (!isDict(metadata)) return rest;
  const { labels, annotations, finalizers, ownerReferences } = metadata;
  const owned = Object.entries({ labels, annotations, finalizers, ownerReferences }).filter(
    ([, value]) => value !== undefined,
  );
  return owned.length === 0 ? rest : { ...rest, metadata: Object.fromEntries(owned) };
}

/**
 * Server-side apply: lays the configuration over the live object, takes away what this manager applied before and now
 * leaves out, and notes who owns what. Throws a Status of 409 where another manager owns a field that would change. Does
 * not change what it is given.
 */
export function applyConfiguration(
  live: ApiObject,
  config: Dict,
  schema: Schema,
  request: ApplyRequest,
): ApiObject {
  const applied = ownable(config);
  const current = ownable(live);
  const fields = fieldsOf(applied, schema);
  const managers = managersOf(live, current, schema, request.now);
  const mine = managers.find(
    ({ manager, operation }) => manager === request.manager && operation === "Apply",
  );
  const others = managers.filter((manager) => manager !== mine);
  const taken = others.map((other) => differing(intersect(other.fields, fields), applied, current, schema));
  if (!request.force && taken.some((set) => !isEmpty(set))) throw conflicts(others, taken);
  const kept = others
    .map((other, i) => ({ ...other, fields: subtract(other.fields, taken[i] as FieldSet) }))
    .filter((other) => !isEmpty(other.fields));
  const owned = kept.reduce((all, other) => union(all, other.fields), fields);
  const dropped = mine === undefined ? {} : subtract(mine.fields, owned);
  const pruned = (without(current, dropped, schema) ?? {}) as Dict;
  const merged = overlay(pruned, applied, schema) as Dict;
  const same = mine !== undefined && Bun.deepEquals(mine.fields, fields);
  const entry: Manager = {
    manager: request.manager,
    operation: "Apply",
    apiVersion: request.apiVersion,
    subresource: "",
    time: same ? mine.time : request.now,
    fields,
  };
  return assemble(live, merged, [...kept, entry]);
}

/**
 * Notes that a manager's update changed fields, where the object is one that somebody applies; other objects carry no
 * managedFields, which keeps pods and their like small. Changes `next` in place.
 */
export function noteUpdate(
  old: ApiObject,
  next: ApiObject,
  schema: Schema,
  update: { manager: string; now: string },
): void {
  const entries = old.metadata.managedFields;
  if (entries === undefined || entries.length === 0) {
    delete next.metadata.managedFields;
    return;
  }
  // A client may clear them, or hand the whole of another manager's fields over, by sending the list.
  if (next.metadata.managedFields?.length === 0) return void delete next.metadata.managedFields;
  const [before, after] = [ownable(old), ownable(next)];
  const changed = differences(before, after, schema);
  const managers = readManagers(next.metadata.managedFields ?? entries);
  const same = ({ manager, operation }: Manager) => manager === update.manager && operation === "Update";
  const kept = managers
    .filter((manager) => !same(manager))
    .map((manager) => ({ ...manager, fields: subtract(manager.fields, changed) }));
  const mine = managers.find(same);
  const present = intersect(changed, fieldsOf(after, schema));
  const fields = union(subtract(mine?.fields ?? {}, changed), present);
  const entry: Manager = {
    manager: update.manager,
    operation: "Update",
    apiVersion: next.apiVersion,
    subresource: "",
    time: isEmpty(changed) ? (mine?.time ?? update.now) : update.now,
    fields,
  };
  writeManagers(next, [...kept, entry]);
}

function managersOf(live: ApiObject, current: Dict, schema: Schema, now: string): Manager[] {
  const entries = live.metadata.managedFields ?? [];
  if (entries.length > 0 || live.metadata.uid === undefined) return readManagers(entries);
  const { status: _, ...spec } = current;
  return [
    {
      manager: BEFORE,
      operation: "Update",
      apiVersion: live.apiVersion,
      subresource: "",
      time: now,
      fields: fieldsOf(spec, schema),
    },
  ];
}

/** Entries that cannot be read are dropped: clients may write anything here. */
function readManagers(entries: readonly unknown[]): Manager[] {
  return entries.filter(isDict).map((entry) => ({
    manager: String(own(entry, "manager") ?? ""),
    operation: own(entry, "operation") === "Apply" ? "Apply" : "Update",
    apiVersion: String(own(entry, "apiVersion") ?? ""),
    subresource: String(own(entry, "subresource") ?? ""),
    time: String(own(entry, "time") ?? ""),
    fields: readFieldSet(own(entry, "fieldsV1")),
  }));
}

function readFieldSet(value: unknown): FieldSet {
  if (!isDict(value)) return {};
  const readable = Object.entries(value).filter(([step, inner]) => isDict(inner) && isStep(step));
  return Object.fromEntries(readable.map(([step, inner]) => [step, readFieldSet(inner)]));
}

function isStep(step: string): boolean {
  if (step === "." || step.startsWith("f:")) return true;
  if (!step.startsWith("k:") && !step.startsWith("v:")) return false;
  try {
    const value: unknown = JSON.parse(step.slice(2));
    return step.startsWith("v:") || isDict(value);
  } catch {
    return false;
  }
}

function writeManagers(object: ApiObject, managers: readonly Manager[]): void {
  const entries = managers
    .filter(({ fields }) => !isEmpty(fields))
    .map(({ manager, operation, apiVersion, subresource, time, fields }) => ({
      manager,
      operation,
      apiVersion,
      time,
      fieldsType: "FieldsV1",
      fieldsV1: fields,
      ...(subresource === "" ? {} : { subresource }),
    }));
  if (entries.length === 0) delete object.metadata.managedFields;
  else object.metadata.managedFields = entries;
}

function assemble(live: ApiObject, merged: Dict, managers: readonly Manager[]): ApiObject {
  const { metadata, ...rest } = merged;
  const { labels: _l, annotations: _a, finalizers: _f, ownerReferences: _o, ...fixed } = live.metadata;
  const result: ApiObject = {
    apiVersion: live.apiVersion,
    kind: live.kind,
    metadata: { ...fixed, ...(isDict(metadata) ? metadata : {}) },
    ...rest,
  };
  writeManagers(result, managers);
  return result;
}

const intersect = (a: FieldSet, b: FieldSet): FieldSet => subtract(a, subtract(a, b));

function conflicts(others: readonly Manager[], taken: readonly FieldSet[]): StatusError {
  const found = others.flatMap((other, i) => {
    const using = other.apiVersion === "" ? "" : ` using ${other.apiVersion}`;
    const who = `${JSON.stringify(other.manager)}${using}`;
    return pathsOf(taken[i] as FieldSet).map((path) => ({ who, path }));
  });
  const lines = found.map(({ who, path }) => `conflict with ${who}: ${path}`);
  const count = found.length === 1 ? "1 conflict" : `${found.length} conflicts`;
  return new StatusError(409, "Conflict", `Apply failed with ${count}: ${lines.join("\n")}`, {
    causes: found.map(({ who, path }) => ({
      reason: "FieldManagerConflict",
      message: `conflict with ${who}`,
      field: path,
    })),
  });
}
