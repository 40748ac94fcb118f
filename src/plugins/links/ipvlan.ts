import { CniError, cniErrorCode } from "../../cni/errors.ts";
import type { PluginRequest } from "../../cni/plugin.ts";
import { parseMtu } from "../shared/link-keys.ts";
import type { ChildConfig } from "./link.ts";
import { type MasterConfig, parseMaster } from "./master.ts";
import { childPlugin, parseMode } from "./plugin.ts";

const modes = ["l2", "l3", "l3s"] as const;

/** Gives a container addresses of its own on an interface of the host, with the hardware address of that. */
export const ipvlan = childPlugin({
  kind: "ipvlan",
  keys: ["master", "mode", "mtu", "linkInContainer"],
  notify: true,
  takesPrevResult: true,

  parse(request: PluginRequest): ChildConfig {
    const mtu = parseMtu(request.config.fields);
    const master = masterOf(request);
    return {
      ...(master === undefined ? {} : { master }),
      link: {
        kind: "ipvlan",
        ...(mtu === undefined ? {} : { mtu }),
        ipvlan: { mode: parseMode(request, modes) },
      },
    };
  },
});

/** In a chain the master is by default what the plugin before made. */
function masterOf({ config, invocation: { command } }: PluginRequest): MasterConfig | undefined {
  const master = parseMaster(config.fields);
  if (master.name !== undefined || config.prevResult === undefined) {
    // Without addresses of its own it is in a chain, whose result STATUS does not have.
    const isChained = command === "STATUS" && master.name === undefined && config.ipamType === undefined;
    return isChained ? undefined : master;
  }
  // By then the result is that of the whole chain, and says nothing of the master.
  if (command !== "ADD") return undefined;
  const [first, ...more] = config.prevResult.interfaces;
  if (first !== undefined && first.name !== "" && more.length === 0) return { ...master, name: first.name };
  throw new CniError(
    cniErrorCode.invalidNetworkConfig,
    "chained master failure. PrevResult lacks a single named interface",
    { remedy: 'Name the interface under "master"' },
  );
}
