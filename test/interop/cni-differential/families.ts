import { bandwidth } from "./bandwidth.ts";
import { bridge } from "./bridge.ts";
import type { Family } from "./case.ts";
import { firewall } from "./firewall.ts";
import { guestFamilies } from "./guests.ts";
import { hostDevice } from "./host-device.ts";
import { hostLocalFamily } from "./host-local.ts";
import { loopback } from "./loopback.ts";
import { macvlan } from "./macvlan.ts";
import { portmap } from "./portmap.ts";
import { ptp } from "./ptp.ts";
import { sbr } from "./sbr.ts";
import { staticFamily } from "./static.ts";
import { tuning } from "./tuning.ts";

/** The tables of cases. */
export const families: readonly Family[] = [
  bridge,
  hostLocalFamily,
  loopback,
  portmap,
  ptp,
  staticFamily,
  tuning,
  bandwidth,
  sbr,
  macvlan,
  hostDevice,
  firewall,
  ...guestFamilies,
];
