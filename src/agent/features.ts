import type { Feature } from "./feature.ts";
import { cniConfig } from "./features/cni-config.ts";
import { dns } from "./features/dns.ts";
import { masquerade } from "./features/masquerade.ts";
import { routes } from "./features/routes.ts";
import { services } from "./features/services.ts";

/** What the agent does, in the order in which it starts; cleanup goes backwards. */
export const features: readonly Feature[] = [routes, masquerade, services, dns, cniConfig];
