/** Who reaches whom, and as whom. */
import type { JsonObject } from "../../../src/cni/fields.ts";
import type { Namespace } from "../../kernel/services-fixture.ts";
import type { Place, Probe } from "./case.ts";
import type { State } from "./snapshot.ts";
import { echoPort, type Twin } from "./twin.ts";

/**
 * What is asked of every attached container: host and outside ask it, it asks its gateway (where that is the host) and the outside, and each other
 * container. The same on both sides, since the addresses are.
 */
export function usualProbes(attached: ReadonlyMap<Place, JsonObject>, state: State): Probe[] {
  const probes: Probe[] = [];
  for (const [place, result] of attached) {
    for (const { address, gateway } of (result.ips as { address: string; gateway?: string }[]) ?? []) {
      const to = address.replace(/\/.*/, "");
      const outside = to.includes(":") ? "2001:db8::2" : "192.0.2.2";
      probes.push(
        { from: "host", to, by: "udp" },
        { from: "outside", to, by: "tcp" },
        { from: place, to: outside, by: "tcp" },
        { from: place, to: outside, by: "ping" },
      );
      if (gateway !== undefined && isOnHost(state, gateway))
        probes.push({ from: place, to: gateway, by: "tcp" });
      for (const other of attached.keys()) if (other !== place) probes.push({ from: other, to, by: "tcp" });
    }
  }
  return probes;
}

const isOnHost = (state: State, address: string) =>
  [...state.keys()].some((key) => key.startsWith("host address/") && key.includes(`/${address}/`));

/** Asks all at once. `patience`: milliseconds that an answer may take. */
export async function ask(twin: Twin, probes: readonly Probe[], patience: number): Promise<State> {
  const there = probes.filter(({ from }) => twin.places().some(([place]) => place === from));
  const answers = await Promise.all(
    there.map(
      async (probe): Promise<[string, string]> => [describe(probe), await answer(twin, probe, patience)],
    ),
  );
  return new Map(answers);
}

const describe = ({ from, to, by, port }: Probe) =>
  `reach/${from} asks ${to}${by === "ping" ? "" : ` port ${port ?? echoPort}`} by ${by}`;

async function answer(
  twin: Twin,
  { from, to, by, port = echoPort }: Probe,
  patience: number,
): Promise<string> {
  const place = twin.place(from);
  switch (by) {
    case "tcp":
      return withoutPort(await place.ask(to, port, patience));
    case "udp":
      return withoutPort(await askByUdp(place, to, port, patience));
    case "ping": {
      const words = ["ping", "-n", "-c", "1", "-W", `${patience / 1000}`, to];
      return (await twin.output(from, words)).includes(" 0% packet loss") ? "alive" : "silence";
    }
  }
}

async function askByUdp(place: Namespace, to: string, port: number, patience: number): Promise<string> {
  try {
    const client = await place.udp(to, port);
    try {
      return await client.ask(patience);
    } finally {
      client.close();
    }
  } catch (error) {
    return (error as { code?: string }).code ?? "no route";
  }
}

/** "c1 192.0.2.2 40000" without the caller's port, which is chosen by chance. */
const withoutPort = (line: string) => line.replace(/ \d+$/, "");
