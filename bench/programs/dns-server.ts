/** Weft's DNS server in a process of its own, for bench/dns.ts: `dns-server.ts PORT UPSTREAM_PORT SERVICES`. */
import { createZone, startDnsServer } from "../../src/dns/index.ts";

const [port, upstreamPort, services] = process.argv.slice(2).map(Number) as [number, number, number];
const zone = createZone({ reversePrefixes: ["10.96.0.0/16"] });
for (let i = 0; i < services; i++) {
  const clusterIPs = [`10.96.${i >> 8}.${i & 255}`];
  zone.setService({ namespace: `ns${i % 50}`, name: `svc${i}`, clusterIPs, ports: [] });
}
await startDnsServer({
  listen: [{ address: "127.0.0.1", port }],
  zone,
  forward: { upstreams: [`127.0.0.1:${upstreamPort}`] },
});
