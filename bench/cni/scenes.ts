/** What some plugins need around them, made for one row of the bench `cni`. */
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { Prefix } from "../../src/lib/prefix.ts";
import { inNetns } from "../../src/linux/netns.ts";
import { Rtnl } from "../../src/linux/route/rtnl.ts";
import type { Side } from "./side.ts";

/** How long programs may take to start. Milliseconds. */
const patience = 10_000;

/** A device of the host for each container, for host-device. */
export function devices(side: Side): Disposable {
  const rtnl = new Rtnl({ netns: { name: side.name } });
  for (const pod of side.pods.keys()) {
    rtnl.links.add({ kind: "veth", name: deviceName(pod), peer: { name: `peer${pod}` } });
  }
  return {
    [Symbol.dispose]() {
      for (const pod of side.pods.keys()) rtnl.links.delete(deviceName(pod));
      rtnl.close();
    },
  };
}

export function deviceName(pod: number): string {
  return `device${pod}`;
}

export function dhcpSocket({ dir }: Side): string {
  return join(dir, "dhcp", "socket");
}

/** A DHCP server on the network that the host's eth0 leads to, and the plugins' daemon on the host. */
export async function dhcp(side: Side): Promise<Disposable> {
  mkdirSync(join(side.dir, "dhcp"));
  {
    using rtnl = new Rtnl({ netns: { name: side.name } });
    rtnl.addresses.add({ link: "eth0-peer", address: Prefix.parse("10.80.0.1/16") });
  }
  const pidFile = join(side.dir, "dhcp", "dnsmasq.pid");
  const children = [
    start(side, [
      "dnsmasq",
      "--keep-in-foreground",
      "--conf-file=/dev/null",
      "--user=root",
      "--port=0",
      "--no-ping",
      "--interface=eth0-peer",
      "--dhcp-range=10.80.1.1,10.80.9.250,1h",
      `--dhcp-leasefile=${join(side.dir, "dhcp", "leases")}`,
      `--pid-file=${pidFile}`,
    ]),
    start(side, [join(side.plugins, "dhcp"), "daemon", "-socketpath", dhcpSocket(side)]),
  ];
  const scene = {
    [Symbol.dispose]() {
      for (const child of children) child.kill("SIGKILL");
      using rtnl = new Rtnl({ netns: { name: side.name } });
      rtnl.addresses.delete({ link: "eth0-peer", address: Prefix.parse("10.80.0.1/16") });
    },
  };
  const deadline = performance.now() + patience;
  while (![pidFile, dhcpSocket(side)].every((path) => existsSync(path))) {
    if (performance.now() > deadline || children.some(({ exitCode }) => exitCode !== null)) {
      scene[Symbol.dispose]();
      throw new Error("dnsmasq or the plugins' daemon did not start");
    }
    await Bun.sleep(5);
  }
  return scene;
}

function start({ name }: Side, command: string[]): Bun.Subprocess {
  return inNetns({ name }, () => Bun.spawn(command, { stdio: ["ignore", "ignore", "ignore"] }));
}
