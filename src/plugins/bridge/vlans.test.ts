import { expect, test } from "bun:test";
import { parseInvocation } from "../../cni/env.ts";
import type { JsonObject } from "../../cni/fields.ts";
import { parseNetworkConfig } from "../../cni/netconf.ts";
import { parseBridgeConfig } from "./config.ts";
import { vlansOf } from "./vlans.ts";

function parse(keys: JsonObject) {
  return parseBridgeConfig({
    invocation: parseInvocation({ CNI_COMMAND: "STATUS", CNI_PATH: "/" }),
    config: parseNetworkConfig({ cniVersion: "1.0.0", name: "net", type: "bridge", ...keys }),
    warn: () => {},
    builtin: async () => undefined,
    env: {},
  });
}

const trunk = [{ minID: 7, maxID: 9 }, { id: 20 }, { minID: 9, maxID: 11, id: 30 }];
const cases: [string, JsonObject, string, boolean][] = [
  ["no VLANs", {}, "", false],
  ["an access port", { vlan: 5 }, "5*", false],
  ["an access port that stays in the default VLAN", { vlan: 5, preserveDefaultVlan: true }, "5*", true],
  ["a trunk", { vlanTrunk: trunk }, "1* 7-11 20 30", false],
  ["a trunk without untagged frames", { vlanTrunk: trunk, preserveDefaultVlan: false }, "7-11 20 30", false],
  ["a trunk beside the default VLAN", { vlanTrunk: trunk, preserveDefaultVlan: true }, "7-11 20 30", true],
  ["a trunk with a native VLAN", { vlan: 5, vlanTrunk: trunk }, "5* 7-11 20 30", false],
  ["a native VLAN inside of the trunk", { vlan: 8, vlanTrunk: trunk }, "8* 7 9-11 20 30", false],
  ["a trunk with VLAN 1 tagged", { vlanTrunk: [{ id: 1 }, { id: 2 }] }, "1-2", false],
  ["all VLANs", { vlanTrunk: [{ minID: 1, maxID: 4094 }] }, "1-4094", false],
  ["an empty trunk", { vlanTrunk: [] }, "", false],
];
test.each(cases)("%s", (_, keys, expected, preserved) => {
  const config = parse(keys);
  const shown = vlansOf(config).map(
    ({ vid, vidEnd, native }) => `${vid}${vidEnd === vid ? "" : `-${vidEnd}`}${native ? "*" : ""}`,
  );
  expect([shown.join(" "), config.preserveDefaultVlan]).toEqual([expected, preserved]);
});
