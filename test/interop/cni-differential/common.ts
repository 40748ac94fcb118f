/** What several tables of cases have in common. */
import type { JsonObject } from "../../../src/cni/fields.ts";
import type { Call, Change, Step } from "./case.ts";

/** host-local with these subnets, one address from each. */
export function hostLocal(subnets: readonly string[], more: JsonObject = {}): JsonObject {
  return { type: "host-local", ranges: subnets.map((subnet) => [{ subnet }]), ...more };
}

export const v4 = hostLocal(["10.77.0.0/24"]);
export const v6 = hostLocal(["fd77::/64"]);
export const dual = hostLocal(["10.77.0.0/24", "fd77::/64"]);

/** A configuration that is refused: nothing may stay, and DEL of what never was is fine. */
export const refused: readonly Step[] = ["ADD", "DEL"];

/** ADD, then a change from elsewhere that CHECK has to notice. */
export const changed = (at: Change["at"], run: string): readonly Step[] => [
  "ADD",
  "CHECK",
  { at, run },
  "CHECK",
  "DEL",
];

export const add = (container: Call["container"], more: Partial<Call> = {}): Call => ({
  verb: "ADD",
  ...(container === undefined ? {} : { container }),
  ...more,
});

export const del = (container: Call["container"], more: Partial<Call> = {}): Call => ({
  verb: "DEL",
  ...(container === undefined ? {} : { container }),
  ...more,
});

/** Two containers, the first one gone before the second. */
export const two: readonly Step[] = ["ADD", add("c2"), "DEL", del("c2")];
