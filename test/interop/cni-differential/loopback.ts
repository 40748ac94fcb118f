import type { Family } from "./case.ts";

const config = { type: "loopback" };
const down = { at: "c1", run: "ip link set lo down" } as const;

export const loopback: Family = {
  plugin: "loopback",
  needs: [],
  cases: [
    { name: "the usual life", config, ifname: "lo", steps: [down, "ADD", "CHECK", "DEL", "DEL"] },
    { name: "another interface's name", config, steps: [down, "ADD", "DEL"] },
    { name: "version 0.3.1", cniVersion: "0.3.1", config, ifname: "lo", steps: [down, "ADD", "DEL"] },
    { name: "CHECK sees that it is down", config, ifname: "lo", steps: ["ADD", down, "CHECK", "DEL"] },
    {
      name: "without IPv6",
      config,
      ifname: "lo",
      steps: [{ at: "c1", run: "sysctl -qw net.ipv6.conf.lo.disable_ipv6=1" }, down, "ADD", "DEL"],
    },
    { name: "DEL after the container's end", config, ifname: "lo", steps: ["ADD", { end: "c1" }, "DEL"] },
    { name: "no such namespace", config, ifname: "lo", steps: [{ verb: "ADD", netns: "/run/netns/none" }] },
    {
      name: "behind another plugin",
      config: [{ type: "loopback" }, { type: "loopback" }],
      ifname: "lo",
      steps: [down, "ADD", "DEL"],
    },
  ],
};
