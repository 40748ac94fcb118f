import type { Cluster } from "../cluster.ts";
import { isDict } from "../objects.ts";
import { parseSelectors } from "../query/selectors.ts";
import type { ResourceType } from "../resources/definition.ts";
import { badRequest, expired, StatusError } from "../status.ts";
import type { Entry } from "../store/entry.ts";
import { Compacted } from "../store/history.ts";
import { byKey } from "../store/store.ts";
import type { ListInfo } from "./respond.ts";

const TOO_OLD =
  "The provided continue parameter is too old to display a consistent list result. You can start a new list without " +
  "the continue parameter.";

/** Where a list goes on: after this object, as all was at this revision. */
interface Continuation {
  readonly revision: number;
  readonly namespace: string;
  readonly name: string;
}

/** A number of a query, or undefined where it is absent or empty. Throws a Status of 400. */
export function numberOf(query: URLSearchParams, key: string): number | undefined {
  const text = query.get(key) ?? "";
  if (text === "") return undefined;
  if (!/^\d{1,15}$/.test(text)) throw badRequest(`${key}: ${JSON.stringify(text)} is not a whole number`);
  return Number(text);
}

/** One page of a list, as the query asks for it. Throws a Status. */
export function listPage(
  cluster: Cluster,
  type: ResourceType,
  namespace: string | undefined,
  query: URLSearchParams,
): { entries: readonly Entry[]; info: ListInfo } {
  const selector = parseSelectors(
    query.get("labelSelector") ?? "",
    query.get("fieldSelector") ?? "",
    type.fields,
  );
  const limit = numberOf(query, "limit") ?? 0;
  const token = query.get("continue") ?? "";
  const after = token === "" ? undefined : decodeToken(token);
  const { all, revision } = snapshot(cluster, type, namespace, query, after);
  const start = after === undefined ? 0 : firstAfter(all, after);
  const entries: Entry[] = [];
  let index = start;
  for (; index < all.length && (limit === 0 || entries.length < limit); index++) {
    const entry = all[index] as Entry;
    if (selector === undefined || selector.matches(entry.object)) entries.push(entry);
  }
  const last = entries.at(-1);
  const more = index < all.length && last !== undefined;
  return {
    entries,
    info: {
      resourceVersion: String(revision),
      ...(more ? { continue: encodeToken({ revision, namespace: last.namespace, name: last.name }) } : {}),
      ...(more && selector === undefined ? { remainingItemCount: all.length - index } : {}),
    },
  };
}

function snapshot(
  cluster: Cluster,
  type: ResourceType,
  namespace: string | undefined,
  query: URLSearchParams,
  after: Continuation | undefined,
): { all: readonly Entry[]; revision: number } {
  const { store } = cluster;
  const asked = numberOf(query, "resourceVersion") ?? 0;
  const match = query.get("resourceVersionMatch") ?? "";
  if (match !== "" && match !== "Exact" && match !== "NotOlderThan") {
    throw badRequest(`resourceVersionMatch: ${JSON.stringify(match)} is neither "Exact" nor "NotOlderThan"`);
  }
  const exact = after?.revision ?? (match === "Exact" ? asked : 0);
  if (asked > store.revision && after === undefined) throw tooLarge(asked, store.revision);
  if (exact === 0) return { all: store.list(type.storage, namespace), revision: store.revision };
  try {
    return { all: store.listAt(type.storage, namespace, exact), revision: exact };
  } catch (error) {
    if (!(error instanceof Compacted)) throw error;
    throw expired(
      after === undefined ? `The resourceVersion for the provided list is too old: ${exact}` : TOO_OLD,
    );
  }
}

/** The client has seen a version that this server has not made: it asks another server, or an older store. */
function tooLarge(asked: number, current: number): StatusError {
  return new StatusError(
    504,
    "Timeout",
    `Timeout: Too large resource version: ${asked}, current: ${current}`,
    {
      causes: [{ reason: "ResourceVersionTooLarge", message: "Too large resource version" }],
      retryAfterSeconds: 1,
    },
  );
}

function firstAfter(entries: readonly Entry[], after: Continuation): number {
  let low = 0;
  let high = entries.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (byKey(entries[middle] as Entry, after) <= 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

function encodeToken(token: Continuation): string {
  return Buffer.from(JSON.stringify(token)).toString("base64url");
}

function decodeToken(text: string): Continuation {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(text, "base64url").toString());
  } catch {
    value = undefined;
  }
  if (isDict(value)) {
    const { revision, namespace, name } = value;
    if (typeof revision === "number" && Number.isSafeInteger(revision) && revision > 0) {
      if (typeof namespace === "string" && typeof name === "string") return { revision, namespace, name };
    }
  }
  throw badRequest("continue key is not valid: it must be the one that the page before gave");
}
