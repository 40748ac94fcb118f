/** How fast containers behind the bandwidth plugin send and receive; see cni-fixture.ts for the picture. */
import { expect } from "bun:test";
import type { JsonObject } from "../../src/cni/fields.ts";
import { needs, testWith } from "../lib/needs.ts";
import { attach, both, burst, rate } from "./cni-bandwidth-fixture.ts";
import { type Answer, addressOf, CniHost } from "./cni-fixture.ts";
import { transfer } from "./cni-traffic.ts";
import type { Namespace } from "./services-fixture.ts";

const test = testWith(needs.root, needs.kernel("ifb"));
const payload = 1_000_000;

interface Scene {
  host: CniHost;
  container: Namespace;
  answer: Answer;
}

/** Seconds that 1 MB takes from the peer to the container or back. */
async function seconds(
  { host, container, answer }: Scene,
  peer: "outside" | "node",
  direction: "in" | "out",
  family: 4 | 6,
): Promise<number> {
  const own = { namespace: container, address: addressOf(answer, family) };
  const addresses = {
    outside: { 4: "192.0.2.2", 6: "2001:db8::2" },
    node: { 4: "10.77.0.1", 6: "fd77::1" },
  };
  const other = { namespace: host[peer], address: addresses[peer][family] };
  const milliseconds = direction === "in" ? transfer(other, own, payload) : transfer(own, other, payload);
  return (await milliseconds) / 1000;
}

const cases: [string, JsonObject, Record<"outside" | "node", Record<"in" | "out", "limited" | "free">>][] = [
  [
    "both directions",
    both,
    { outside: { in: "limited", out: "limited" }, node: { in: "limited", out: "limited" } },
  ],
  [
    "ingress alone",
    { ingressRate: rate, ingressBurst: burst },
    { outside: { in: "limited", out: "free" }, node: { in: "limited", out: "free" } },
  ],
  [
    "egress alone, from the runtime",
    { runtimeConfig: { bandwidth: { egressRate: rate, egressBurst: burst } } },
    { outside: { in: "free", out: "limited" }, node: { in: "free", out: "limited" } },
  ],
  [
    "unshaped subnets",
    { ...both, unshapedSubnets: ["192.0.2.0/24", "2001:db8::/64"] },
    { outside: { in: "free", out: "free" }, node: { in: "limited", out: "limited" } },
  ],
  [
    "shaped subnets",
    { ...both, shapedSubnets: ["192.0.2.2/32", "2001:db8::2/128"] },
    { outside: { in: "limited", out: "limited" }, node: { in: "free", out: "free" } },
  ],
];
const slowFamily = { outside: { in: 4, out: 6 }, node: { in: 6, out: 4 } };

test.each(cases)(
  "as fast as it may: %s",
  async (_, limits, expected) => {
    using host = new CniHost();
    const container = host.container();
    host.outside.route("10.77.0.0/24", "192.0.2.1");
    host.outside.route("fd77::/64", "2001:db8::1");
    const { first } = await attach(host, container, limits);
    const scene = { host, container, answer: first };
    for (const peer of ["outside", "node"] as const) {
      for (const direction of ["in", "out"] as const) {
        for (const family of [4, 6] as const) {
          const isLimited = expected[peer][direction] === "limited";
          // What is slow is tried once for each peer and direction.
          if (isLimited && family !== slowFamily[peer][direction]) continue;
          // Unlimited it takes hundredths of a second, but for a machine that has something else to do just then.
          let time = Number.POSITIVE_INFINITY;
          for (let tries = isLimited ? 1 : 3; tries > 0 && time >= 0.6; tries--)
            time = Math.min(time, await seconds(scene, peer, direction, family));
          const seen = time > 0.7 ? "limited" : time < 0.6 ? "free" : "neither";
          expect({ peer, direction, family, seen }).toEqual({
            peer,
            direction,
            family,
            seen: expected[peer][direction],
          });
        }
      }
    }
  },
  30_000,
);
