import { expect, test } from "bun:test";
import { parseNetworkList } from "../../cni/index.ts";
import { Prefix } from "../../lib/prefix.ts";
import type { AgentConfig } from "../config.ts";
import { conflist } from "./conflist.ts";

const config = { bridge: "weft0", ipamDir: "/var/lib/cni/networks" } as AgentConfig;

test("the list is one that runtimes read, with a range for each podCIDR", () => {
  const cidrs = ["10.244.1.0/24", "fd00:10:244:1::/64"].map((text) => Prefix.parse(text));
  const written = conflist(config, cidrs, 1450);
  const list = parseNetworkList(JSON.stringify(written), "10-weft.conflist");
  expect([list.name, list.cniVersion, list.plugins.map(({ type }) => type)]).toEqual([
    "weft",
    "1.0.0",
    ["bridge", "portmap"],
  ]);
  expect(written).toMatchObject({
    plugins: [
      {
        bridge: "weft0",
        mtu: 1450,
        isDefaultGateway: true,
        ipam: {
          type: "host-local",
          dataDir: "/var/lib/cni/networks",
          ranges: [[{ subnet: "10.244.1.0/24" }], [{ subnet: "fd00:10:244:1::/64" }]],
        },
      },
      { capabilities: { portMappings: true } },
    ],
  });
});
