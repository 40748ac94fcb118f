/** The tap plugin's selinuxContext, on a kernel with SELinux. It has no policy, so that it takes any context. */
import { expect, test } from "bun:test";
import { CniHost } from "../../kernel/cni-fixture.ts";

test("a link is made by a process with the context, and is as any other", async () => {
  using host = new CniHost();
  const container = host.container();
  const config = {
    cniVersion: "1.1.0",
    name: "net",
    type: "tap",
    selinuxContext: "system_u:system_r:container_t:s0",
    owner: 7,
    ipam: { type: "static", addresses: [{ address: "10.1.0.2/24" }, { address: "fd01::2/64" }] },
  };
  const { json } = await host.succeed("ADD", container, config);
  const link = container.kernel.rtnl.links.get("eth0");
  expect(link.tun).toMatchObject({ owner: 7, persist: true });
  expect(json).toMatchObject({
    interfaces: [{ name: "eth0", mac: link.mac }],
    ips: [{ address: "10.1.0.2/24" }, { address: "fd01::2/64" }],
  });
  const taken = await host.call("ADD", container, config);
  expect(taken.json).toMatchObject({
    code: 999,
    msg: expect.stringContaining("already exists"),
  });
  await host.succeed("CHECK", container, { ...config, prevResult: json });
  await host.succeed("DEL", container, config);
  expect(container.kernel.rtnl.links.find("eth0")).toBeUndefined();
});
