/** A container on a bridge whose traffic is shaped. */
import type { JsonObject } from "../../src/cni/fields.ts";
import type { Answer, CniHost } from "./cni-fixture.ts";
import type { Namespace } from "./services-fixture.ts";

/** 8 Mbit/s: 1 MB takes a second. */
export const rate = 8_000_000;
export const burst = 80_000;
export const both = { ingressRate: rate, ingressBurst: burst, egressRate: rate, egressBurst: burst };

export const bandwidthOf = (more: JsonObject = {}, name = "net"): JsonObject => ({
  cniVersion: "1.0.0",
  name,
  type: "bandwidth",
  ...more,
});

/** A container on the bridge, then the plugin. */
export async function attach(
  host: CniHost,
  container: Namespace,
  more: JsonObject,
  call: { plugins?: string; ifname?: string } = {},
): Promise<{ first: Answer; added: Answer; config: JsonObject }> {
  const { ifname = "eth0" } = call;
  const first = await host.succeed("ADD", container, host.config(), { ifname });
  const config = { ...bandwidthOf(more), prevResult: first.json };
  return { first, added: await host.succeed("ADD", container, config, call), config };
}

export const interfacesOf = ({ json }: Answer) =>
  json.interfaces as { name: string; mac: string; sandbox?: string }[];
export const portOf = (answer: Answer) => interfacesOf(answer)[1]?.name as string;
