import type { Writer } from "../netlink/codec.ts";
import type { NetnsRef } from "../netns.ts";
import type { LinkKind } from "./kinds.ts";
import type { LinkRef } from "./link.ts";

/** Appends the body of a message, all that it needs being known already. */
export type Body = (writer: Writer) => void;

/** How {@link LinkRef}s and namespaces become numbers before a request is written. */
export interface Resolver {
  index(ref: LinkRef): number;
  /** A descriptor that is open until the request was sent. */
  netnsFd(ref: NetnsRef): number;
  kinds: Readonly<Record<string, LinkKind>>;
}
