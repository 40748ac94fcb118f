import type { PluginRequest } from "../../cni/plugin.ts";
import { parseMtu, requestedMac } from "../shared/link-keys.ts";
import type { ChildConfig } from "./link.ts";
import { parseMaster } from "./master.ts";
import { childPlugin, parseMode } from "./plugin.ts";

const modes = ["bridge", "private", "vepa", "passthru"] as const;
const highestU32 = 2 ** 32 - 1;

/** Gives a container a hardware address of its own on an interface of the host. */
export const macvlan = childPlugin({
  kind: "macvlan",
  keys: ["master", "mode", "mtu", "mac", "linkInContainer", "bcqueuelen"],
  notify: true,
  limitsMtu: true,

  parse(request: PluginRequest): ChildConfig {
    const { fields } = request.config;
    const mtu = parseMtu(fields);
    const mac = requestedMac(request, { hasKey: true });
    // 0 leaves it to the kernel.
    const length = fields.integer("bcqueuelen", 0, highestU32) ?? 0;
    return {
      master: parseMaster(fields),
      link: {
        kind: "macvlan",
        ...(mtu === undefined ? {} : { mtu }),
        ...(mac === undefined ? {} : { mac }),
        macvlan: {
          mode: parseMode(request, modes),
          ...(length === 0 ? {} : { broadcastQueueLength: length }),
        },
      },
    };
  },
});
