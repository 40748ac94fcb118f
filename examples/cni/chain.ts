/**
 * A container's namespace on a bridge, by a chain of plugins that runs in this process alone.
 *
 *     this namespace -- cni-example 10.85.0.1 -- pod 10.85.0.2
 *
 * Run as root, in a network namespace of its own: unshare -n node_modules/.bin/bun examples/cni/chain.ts
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CniRuntime, parseNetworkList } from "weft/cni";
import { createNetns, deleteNetns, openKernel } from "weft/linux";
import { builtin } from "weft/plugins";

const dir = mkdtempSync(join(tmpdir(), "weft-example-"));
const pod = `weft-example-pod-${process.pid}`;
const list = parseNetworkList(
  JSON.stringify({
    cniVersion: "1.1.0",
    name: "example",
    plugins: [
      {
        type: "bridge",
        bridge: "cni-example",
        isDefaultGateway: true,
        ipam: { type: "host-local", dataDir: join(dir, "networks"), ranges: [[{ subnet: "10.85.0.0/24" }]] },
      },
      { type: "tuning", sysctl: { "net.core.somaxconn": "500" } },
    ],
  }),
);

// No folder of executables: every plugin is one of this process.
const runtime = new CniRuntime({ path: [], cacheDir: join(dir, "cache"), builtin });
const attachment = { containerId: "example", ifname: "eth0", netns: `/run/netns/${pod}` };

createNetns(pod);
try {
  const result = await runtime.add(list, attachment);
  console.log(`the pod has ${result.ips.map(({ address }) => address).join(", ")}`);
  const { rtnl, sysctl } = openKernel({ name: pod });
  console.log(`its links: ${rtnl.links.list().map(({ name }) => name)}`);
  console.log(`its somaxconn: ${sysctl.read("net.core.somaxconn")}`);
  await runtime.check(list, attachment);
  console.log(`remembered: ${runtime.attachments().map(({ network, ifname }) => `${network}/${ifname}`)}`);
  await runtime.del(list, attachment);
  console.log(`remembered: ${runtime.attachments().length}`);
} finally {
  deleteNetns(pod);
  rmSync(dir, { recursive: true });
}
