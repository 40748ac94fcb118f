import type { ApiObject } from "../objects.ts";

/** One version of one object. Never changed: a write makes a new entry. */
export interface Entry {
  readonly namespace: string;
  readonly name: string;
  readonly revision: number;
  readonly object: ApiObject;
  /** The object as JSON, made once. */
  readonly text: string;
}

/** A change of one object. A DELETED entry is the object as it last was, with the revision of its deletion. */
export interface StoreEvent {
  readonly type: "ADDED" | "MODIFIED" | "DELETED";
  readonly revision: number;
  readonly entry: Entry;
  readonly previous: Entry | undefined;
}
