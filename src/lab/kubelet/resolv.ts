import type { Pod } from "../../kube/types.ts";

/** How pods of this node find names. */
export interface DnsSettings {
  /** Addresses of the cluster's DNS, in the order of preference. */
  clusterDns: readonly string[];
  clusterDomain: string;
  /** The node's own resolv.conf, for dnsPolicy Default. */
  nodeResolvConf: string;
}

/** The resolv.conf of a pod, as kubelet writes it for its dnsPolicy and dnsConfig. */
export function podResolvConf(pod: Pod, settings: DnsSettings): string {
  const policy = pod.spec.dnsPolicy ?? "ClusterFirst";
  const inCluster =
    policy === "ClusterFirstWithHostNet" || (policy === "ClusterFirst" && pod.spec.hostNetwork !== true);
  const domain = settings.clusterDomain;
  const namespace = pod.metadata.namespace ?? "default";
  const own = pod.spec.dnsConfig;
  if (!inCluster && policy !== "None") {
    return own === undefined ? settings.nodeResolvConf : settings.nodeResolvConf + lines(own, [], [], []);
  }
  return policy === "None"
    ? lines(own, [], [], [])
    : lines(own, settings.clusterDns, [`${namespace}.svc.${domain}`, `svc.${domain}`, domain], ["ndots:5"]);
}

function lines(
  own: Pod["spec"]["dnsConfig"],
  nameservers: readonly string[],
  searches: readonly string[],
  options: readonly string[],
): string {
  const servers = [...nameservers, ...(own?.nameservers ?? [])];
  const search = [...new Set([...searches, ...(own?.searches ?? [])])];
  const ownOptions = (own?.options ?? []).map(({ name, value }) =>
    value === undefined ? name : `${name}:${value}`,
  );
  const overridden = new Set((own?.options ?? []).map(({ name }) => name));
  const kept = options.filter((option) => !overridden.has(option.split(":")[0]));
  const all = [...kept, ...ownOptions];
  return [
    ...servers.map((server) => `nameserver ${server}\n`),
    search.length === 0 ? "" : `search ${search.join(" ")}\n`,
    all.length === 0 ? "" : `options ${all.join(" ")}\n`,
  ].join("");
}

/** The /etc/hosts of a pod, as kubelet writes it. */
export function podHosts(pod: Pod, podIPs: readonly string[], clusterDomain: string): string {
  const { name, namespace = "default" } = pod.metadata;
  const hostname = pod.spec.hostname ?? name;
  const full =
    pod.spec.subdomain === undefined
      ? hostname
      : `${hostname}.${pod.spec.subdomain}.${namespace}.svc.${clusterDomain}\t${hostname}`;
  const aliases = (pod.spec.hostAliases ?? []).map(
    ({ ip, hostnames = [] }) => `${ip}\t${hostnames.join("\t")}\n`,
  );
  return [
    "127.0.0.1\tlocalhost\n",
    "::1\tlocalhost ip6-localhost ip6-loopback\n",
    "fe00::\tip6-localnet\n",
    "fe00::1\tip6-allnodes\n",
    "fe00::2\tip6-allrouters\n",
    ...podIPs.map((ip) => `${ip}\t${full}\n`),
    ...aliases,
  ].join("");
}
