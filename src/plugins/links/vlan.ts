import type { PluginRequest } from "../../cni/plugin.ts";
import { parseMtu } from "../shared/link-keys.ts";
import type { ChildConfig } from "./link.ts";
import { parseMaster } from "./master.ts";
import { childPlugin } from "./plugin.ts";

const highestVlan = 4094;

/** Gives a container a VLAN of an interface of the host. */
export const vlan = childPlugin({
  kind: "vlan",
  keys: ["master", "vlanId", "mtu", "linkInContainer"],
  notify: false,
  limitsMtu: true,
  needsMasterUp: true,

  parse(request: PluginRequest): ChildConfig {
    const { fields } = request.config;
    const master = parseMaster(fields);
    if (master.name === undefined) throw fields.missing("master", "Name the interface that carries the VLAN");
    const id = fields.integer("vlanId", 0, highestVlan);
    if (id === undefined && request.invocation.command === "ADD") {
      request.warn("vlanId: is missing; 0 is taken, which is priority tags without a VLAN");
    }
    const mtu = parseMtu(fields);
    return {
      master,
      link: { kind: "vlan", ...(mtu === undefined ? {} : { mtu }), vlan: { id: id ?? 0 } },
    };
  },
});
