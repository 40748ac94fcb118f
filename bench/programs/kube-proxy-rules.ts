/**
 * Rules as kube-proxy 1.33 writes them in its nftables mode (pkg/proxy/nftables): a chain for each Service port and one for
 * each of its endpoints, found by verdict maps. For benches, where kube-proxy itself cannot be had.
 */

export interface ProxiedService {
  readonly name: string;
  readonly ip: string;
  readonly protocol: "tcp" | "udp";
  readonly port: number;
  /** "address:port". */
  readonly endpoints: readonly string[];
}

const serviceChain = ({ name, protocol }: ProxiedService) => `service-${name}-${protocol}`;
const endpointChain = (service: ProxiedService, endpoint: string) =>
  `endpoint-${service.name}-${service.protocol}__${endpoint.replace(":", "/")}`.replaceAll("/", "_");

/** The table with all that is there whatever Services there are. */
const frame = `
table ip kube-proxy {
  set cluster-ips { type ipv4_addr; }
  set nodeport-ips { type ipv4_addr; elements = { 172.30.0.1 } }
  map no-endpoint-services { type ipv4_addr . inet_proto . inet_service : verdict; }
  map no-endpoint-nodeports { type inet_proto . inet_service : verdict; }
  map firewall-ips { type ipv4_addr . inet_proto . inet_service : verdict; }
  map service-ips { type ipv4_addr . inet_proto . inet_service : verdict; }
  map service-nodeports { type inet_proto . inet_service : verdict; }
  chain mark-for-masquerade { meta mark set meta mark or 0x4000; }
  chain masquerading {
    meta mark and 0x4000 == 0 return
    meta mark set meta mark xor 0x4000
    masquerade fully-random
  }
  chain firewall-check { ip daddr . meta l4proto . th dport vmap @firewall-ips; }
  chain service-endpoints-check { ip daddr . meta l4proto . th dport vmap @no-endpoint-services; }
  chain nodeport-endpoints-check { ip daddr @nodeport-ips meta l4proto . th dport vmap @no-endpoint-nodeports; }
  chain cluster-ips-check {
    ip daddr @cluster-ips reject
    ip daddr { 10.96.0.0/16 } drop
  }
  chain services {
    ip daddr . meta l4proto . th dport vmap @service-ips
    ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports
  }
  chain filter-prerouting-pre-dnat { type filter hook prerouting priority -110; ct state new jump firewall-check; }
  chain filter-output-pre-dnat { type filter hook output priority -110; ct state new jump firewall-check; }
  chain filter-input {
    type filter hook input priority -110
    ct state new jump nodeport-endpoints-check
    ct state new jump service-endpoints-check
  }
  chain filter-forward {
    type filter hook forward priority -110
    ct state new jump service-endpoints-check
    ct state new jump cluster-ips-check
  }
  chain filter-output {
    type filter hook output priority -90
    ct state new jump service-endpoints-check
    ct state new jump cluster-ips-check
  }
  chain nat-prerouting { type nat hook prerouting priority dstnat; jump services; }
  chain nat-output { type nat hook output priority -100; jump services; }
  chain nat-postrouting { type nat hook postrouting priority srcnat; jump masquerading; }
}
`;

function endpointRules(service: ProxiedService, endpoint: string): string[] {
  const chain = endpointChain(service, endpoint);
  const [address] = endpoint.split(":");
  return [
    `add chain ip kube-proxy ${chain}`,
    `add rule ip kube-proxy ${chain} ip saddr ${address} jump mark-for-masquerade`,
    `add rule ip kube-proxy ${chain} meta l4proto ${service.protocol} dnat to ${endpoint}`,
  ];
}

function serviceRules(service: ProxiedService): string[] {
  const chain = serviceChain(service);
  const choices = service.endpoints.map((endpoint, i) => `${i} : goto ${endpointChain(service, endpoint)}`);
  return [
    `add rule ip kube-proxy ${chain} ip daddr ${service.ip} ${service.protocol} dport ${service.port} ip saddr != 10.244.0.0/16 jump mark-for-masquerade`,
    `add rule ip kube-proxy ${chain} numgen random mod ${choices.length} vmap { ${choices.join(", ")} }`,
  ];
}

/** What `nft -f` is given when kube-proxy starts. */
export function fullSync(services: readonly ProxiedService[]): string {
  const lines = services.flatMap((service) => [
    ...service.endpoints.flatMap((endpoint) => endpointRules(service, endpoint)),
    `add chain ip kube-proxy ${serviceChain(service)}`,
    ...serviceRules(service),
  ]);
  const ips = services.map(({ ip }) => ip).join(", ");
  const frontends = services.map(
    (service) => `${service.ip} . ${service.protocol} . ${service.port} : goto ${serviceChain(service)}`,
  );
  return [
    frame,
    ...lines,
    `add element ip kube-proxy cluster-ips { ${ips} }`,
    `add element ip kube-proxy service-ips { ${frontends.join(", ")} }`,
    "",
  ].join("\n");
}

/** What it is given when a Service's endpoints change. */
export function endpointsChange(before: ProxiedService, after: ProxiedService): string {
  const gone = before.endpoints.filter((endpoint) => !after.endpoints.includes(endpoint));
  const come = after.endpoints.filter((endpoint) => !before.endpoints.includes(endpoint));
  return [
    ...come.flatMap((endpoint) => endpointRules(after, endpoint)),
    `flush chain ip kube-proxy ${serviceChain(after)}`,
    ...serviceRules(after),
    ...gone.flatMap((endpoint) => [
      `flush chain ip kube-proxy ${endpointChain(before, endpoint)}`,
      `delete chain ip kube-proxy ${endpointChain(before, endpoint)}`,
    ]),
    "",
  ].join("\n");
}

/** What it is given when a Service comes. */
export function serviceAdded(service: ProxiedService): string {
  return [
    ...service.endpoints.flatMap((endpoint) => endpointRules(service, endpoint)),
    `add chain ip kube-proxy ${serviceChain(service)}`,
    ...serviceRules(service),
    `add element ip kube-proxy cluster-ips { ${service.ip} }`,
    `add element ip kube-proxy service-ips { ${service.ip} . ${service.protocol} . ${service.port} : goto ${serviceChain(service)} }`,
    "",
  ].join("\n");
}

/** And when it goes. */
export function serviceRemoved(service: ProxiedService): string {
  return [
    `delete element ip kube-proxy service-ips { ${service.ip} . ${service.protocol} . ${service.port} }`,
    `delete element ip kube-proxy cluster-ips { ${service.ip} }`,
    `flush chain ip kube-proxy ${serviceChain(service)}`,
    `delete chain ip kube-proxy ${serviceChain(service)}`,
    ...service.endpoints.flatMap((endpoint) => [
      `flush chain ip kube-proxy ${endpointChain(service, endpoint)}`,
      `delete chain ip kube-proxy ${endpointChain(service, endpoint)}`,
    ]),
    "",
  ].join("\n");
}
