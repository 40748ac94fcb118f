import { errno } from "../errno.ts";
import { KernelError } from "../errors.ts";
import { checkSysctlValue, type Sysctl, sysctlPath } from "../sysctl.ts";
import type { FakeNamespace } from "./namespace.ts";

/** Parameters of a namespace with their values at its beginning. Numbers take numbers only. */
const global: Readonly<Record<string, string>> = {
  "net/ipv4/ip_forward": "0",
  "net/ipv4/ip_local_port_range": "32768\t60999",
  "net/ipv4/ip_unprivileged_port_start": "1024",
  "net/ipv4/ping_group_range": "1\t0",
  "net/ipv4/tcp_keepalive_time": "7200",
  "net/ipv4/neigh/default/gc_thresh3": "1024",
  "net/core/somaxconn": "4096",
  "net/netfilter/nf_conntrack_max": "262144",
  "net/netfilter/nf_conntrack_udp_timeout": "30",
  "net/ipv6/conf/all/forwarding": "0",
};

/** Parameters that each link has, and "all" and "default" besides. */
const perLink: Readonly<Record<string, string>> = {
  "ipv4/forwarding": "0",
  "ipv4/proxy_arp": "0",
  "ipv4/rp_filter": "0",
  "ipv4/arp_notify": "0",
  "ipv4/arp_ignore": "0",
  "ipv4/arp_announce": "0",
  "ipv4/accept_local": "0",
  "ipv4/route_localnet": "0",
  "ipv4/send_redirects": "1",
  "ipv4/promote_secondaries": "0",
  "ipv6/forwarding": "0",
  "ipv6/disable_ipv6": "0",
  "ipv6/accept_ra": "1",
  "ipv6/accept_dad": "1",
  "ipv6/dad_transmits": "1",
  "ipv6/autoconf": "1",
  "ipv6/proxy_ndp": "0",
  "ipv6/keep_addr_on_down": "0",
};

/** Kernel parameters of a fake namespace: the ones that matter to a pod network. */
export class FakeSysctl implements Sysctl {
  readonly #namespace: FakeNamespace;

  constructor(namespace: FakeNamespace) {
    this.#namespace = namespace;
  }

  read(key: string): string {
    const path = pathOf(key);
    const initial = this.#initial(path);
    if (initial === undefined) throw new KernelError("read sysctl", key, errno.ENOENT);
    return this.#namespace.sysctls.get(path) ?? initial;
  }

  write(key: string, value: string | number): void {
    const path = pathOf(key);
    const text = checkSysctlValue(key, value);
    const initial = this.#initial(path);
    const subject = `${key} = ${text}`;
    if (initial === undefined) throw new KernelError("write sysctl", subject, errno.ENOENT);
    if (!/^-?\d+(\s+-?\d+)*$/.test(text)) throw new KernelError("write sysctl", subject, errno.EINVAL);
    this.#namespace.sysctls.set(path, text);
    const forwarding =
      /^net\/(ipv4\/ip_forward|ipv4\/conf\/all\/forwarding|ipv6\/conf\/all\/forwarding)$/.exec(path);
    if (forwarding !== null) this.#forwardAll(path.slice(4, 8) as "ipv4" | "ipv6", text);
  }

  /** To forward at all is to forward on every link. */
  #forwardAll(family: "ipv4" | "ipv6", text: string): void {
    const names = ["all", "default", ...this.#namespace.links.map((link) => link.own.name)];
    for (const name of names) this.#namespace.sysctls.set(`net/${family}/conf/${name}/forwarding`, text);
    if (family === "ipv4") this.#namespace.sysctls.set("net/ipv4/ip_forward", text);
  }

  #initial(path: string): string | undefined {
    if (Object.hasOwn(global, path)) return global[path];
    const [, family, name, parameter] = /^net\/(ipv[46])\/conf\/([^/]+)\/([^/]+)$/.exec(path) ?? [];
    const key = `${family}/${parameter}`;
    if (name === undefined || !Object.hasOwn(perLink, key)) return undefined;
    const known =
      name === "all" || name === "default" || this.#namespace.links.some((link) => link.own.name === name);
    return known
      ? (this.#namespace.sysctls.get(`net/${family}/conf/default/${parameter}`) ?? perLink[key])
      : undefined;
  }
}

const pathOf = (key: string) => sysctlPath(key).slice("/proc/sys/".length);
