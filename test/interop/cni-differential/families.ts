import { bridge } from "./bridge.ts";
import type { Family } from "./case.ts";
import { hostLocalFamily } from "./host-local.ts";
import { loopback } from "./loopback.ts";
import { portmap } from "./portmap.ts";

/** The tables of cases. */
export const families: readonly Family[] = [bridge, hostLocalFamily, loopback, portmap];
