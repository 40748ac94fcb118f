import { type Class, DROP, type Entrance, pickChain, REFUSE } from "./classes.ts";
import type { Frontend } from "./frontends.ts";

/** A frontend as it stands in the elements. */
export interface Installed {
  readonly frontend: Frontend;
  readonly inside: readonly string[];
  readonly outside: readonly string[];
}

/** Names a frontend among all: "4 10.96.0.1 . tcp . 80", "6 tcp . 30080". */
export function idOf(frontend: Pick<Frontend, "family" | "key">): string {
  return `${frontend.family} ${frontend.key}`;
}

/** Where a frontend is entered decides which maps it stands in. */
export function entranceOf(frontend: Pick<Frontend, "origin">): Entrance {
  return frontend.origin === "node-port" ? "nodeport" : "service";
}

/** The endpoints of one of a frontend's lists, by slot. */
export function slotsOf(installed: Installed | undefined, outside: boolean): readonly string[] {
  return (outside ? installed?.outside : installed?.inside) ?? [];
}

/** The class of one of a frontend's lists; undefined where the list is empty. */
export function classOf(installed: Installed, outside: boolean): Class | undefined {
  const count = slotsOf(installed, outside).length;
  if (count === 0) return undefined;
  const { frontend } = installed;
  const sticky = frontend.affinity > 0;
  return { entrance: entranceOf(frontend), family: frontend.family, count, outside, sticky };
}

/** Where a packet goes that has found the frontend. */
export function verdictOf(installed: Installed, outside: boolean): string {
  const group = classOf(installed, outside);
  if (group !== undefined) return `goto ${pickChain(group)}`;
  const target = outside ? installed.frontend.outside : installed.frontend.inside;
  return target?.empty === "drop" ? DROP : REFUSE;
}

/** An endpoint answers no more, or the first came: the kernel may hold flows that lead to nobody. */
export function leavesFlows(before: Installed | undefined, after: Installed | undefined): boolean {
  const was = before?.frontend.serving ?? [];
  const is = new Set(after?.frontend.serving);
  if (was.length === 0) return is.size > 0;
  return was.some((endpoint) => !is.has(endpoint));
}

/** A client may be remembered where none is to be, at an endpoint that its list has no more, or from an earlier time. */
export function leavesClients(before: Installed | undefined, after: Installed | undefined): boolean {
  const was = (before?.frontend.affinity ?? 0) > 0;
  const is = (after?.frontend.affinity ?? 0) > 0;
  if (!was || !is) return was !== is;
  if ((before?.frontend.outside === undefined) !== (after?.frontend.outside === undefined)) return true;
  return [false, true].some((outside) => {
    const stay = new Set(slotsOf(after, outside));
    return slotsOf(before, outside).some((endpoint) => !stay.has(endpoint));
  });
}
