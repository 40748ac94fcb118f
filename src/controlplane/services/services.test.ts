import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Service } from "../../kube/types.ts";
import { InvalidInput } from "../../lib/errors.ts";
import { Ip } from "../../lib/ip.ts";
import { Prefix } from "../../lib/prefix.ts";
import type { Dict } from "../objects.ts";
import { seeded, startTestServer, type TestServer } from "../testing.ts";
import { ServiceAllocator } from "./allocator.ts";

const path = "/api/v1/namespaces/default/services";
const MERGE = "application/merge-patch+json";
let dual: TestServer;
let single: TestServer;
beforeAll(async () => {
  dual = await startTestServer();
  single = await startTestServer({ serviceCidrs: ["10.96.0.0/28"], nodePorts: [30000, 30003] });
});
afterAll(() => {
  dual.close();
  single.close();
});

let counter = 0;
const serviceOf = (spec: Dict) => ({
  metadata: { name: `s${counter++}` },
  spec: { selector: { app: "x" }, ports: [{ port: 80 }], ...spec },
});
const create = async (api: TestServer, spec: Dict) => {
  const { code, body } = await api.send("POST", path, serviceOf(spec));
  return {
    code,
    message: body.message as unknown as string | undefined,
    spec: body.spec as unknown as Service["spec"],
    name: body.metadata?.name as unknown as string,
  };
};
const patch = async (api: TestServer, name: string, spec: Dict) => {
  const { code, body } = await api.send("PATCH", `${path}/${name}`, { spec }, MERGE);
  return {
    code,
    message: body.message as unknown as string | undefined,
    spec: body.spec as unknown as Service["spec"],
  };
};

describe("families and addresses", () => {
  const table: [name: string, api: () => TestServer, spec: Dict, expected: Partial<Service["spec"]>][] = [
    [
      "by default one of the primary family",
      () => dual,
      {},
      { ipFamilyPolicy: "SingleStack", ipFamilies: ["IPv4"] },
    ],
    [
      "the other family when asked",
      () => dual,
      { ipFamilies: ["IPv6"] },
      { ipFamilyPolicy: "SingleStack", ipFamilies: ["IPv6"] },
    ],
    [
      "two families when preferred",
      () => dual,
      { ipFamilyPolicy: "PreferDualStack" },
      { ipFamilies: ["IPv4", "IPv6"] },
    ],
    [
      "two families in the order asked",
      () => dual,
      { ipFamilyPolicy: "RequireDualStack", ipFamilies: ["IPv6", "IPv4"] },
      { ipFamilies: ["IPv6", "IPv4"] },
    ],
    [
      "one when preferred where there is one",
      () => single,
      { ipFamilyPolicy: "PreferDualStack" },
      { ipFamilyPolicy: "PreferDualStack", ipFamilies: ["IPv4"] },
    ],
    [
      "two named addresses",
      () => dual,
      { clusterIPs: ["10.96.0.20", "fd00:10:96::20"], clusterIP: "10.96.0.20" },
      {
        ipFamilyPolicy: "RequireDualStack",
        ipFamilies: ["IPv4", "IPv6"],
        clusterIPs: ["10.96.0.20", "fd00:10:96::20"],
      },
    ],
    [
      "headless",
      () => dual,
      { clusterIP: "None" },
      { clusterIPs: ["None"], ipFamilyPolicy: "SingleStack", ipFamilies: ["IPv4"] },
    ],
    [
      "headless without a selector has all families",
      () => single,
      { clusterIP: "None", selector: null },
      { ipFamilyPolicy: "RequireDualStack", ipFamilies: ["IPv4", "IPv6"] },
    ],
    [
      "an external name has none",
      () => dual,
      { type: "ExternalName", externalName: "example.com" },
      { externalName: "example.com" },
    ],
  ];
  for (const [name, api, spec, expected] of table) {
    test(name, async () => {
      const made = await create(api(), spec);
      expect(made.code).toBe(201);
      expect(made.spec).toMatchObject(expected as never);
      if (made.spec.type === "ExternalName") expect(made.spec.clusterIP).toBeUndefined();
      else if (made.spec.clusterIP !== "None") {
        const families = made.spec.clusterIPs?.map((text) => `IPv${Ip.parse(text).family}`);
        expect(families).toEqual(made.spec.ipFamilies as string[]);
        expect(made.spec.clusterIP).toBe(made.spec.clusterIPs?.[0] as string);
      }
    });
  }

  const refused: [name: string, api: () => TestServer, spec: Dict, message: RegExp][] = [
    [
      "an address of another network",
      () => dual,
      { clusterIP: "10.97.0.1" },
      /failed to allocate IP 10.97.0.1: the provided IP \(10.97.0.1\) is not in the valid range. The range of valid IPs is 10.96.0.0\/16/,
    ],
    ["an address that is taken", () => dual, { clusterIP: "10.96.0.1" }, /provided IP is already allocated/],
    [
      "no address at all",
      () => dual,
      { clusterIP: "ten" },
      /spec.clusterIPs\[0\]: Invalid value: "ten": must be a valid IP address/,
    ],
    [
      "a family that is not served",
      () => single,
      { ipFamilies: ["IPv6"] },
      /spec.ipFamilies\[0\]: Invalid value: "IPv6": not configured on this cluster/,
    ],
    [
      "two families where there is one",
      () => single,
      { ipFamilyPolicy: "RequireDualStack" },
      /this cluster is not configured for dual-stack services/,
    ],
    [
      "one stack with two families",
      () => dual,
      { ipFamilyPolicy: "SingleStack", ipFamilies: ["IPv4", "IPv6"] },
      /must be 'RequireDualStack' or 'PreferDualStack'/,
    ],
    [
      "an address against its family",
      () => dual,
      { ipFamilies: ["IPv6"], clusterIP: "10.96.0.77" },
      /expected an IPv6 value/,
    ],
    [
      "two that differ",
      () => dual,
      { clusterIP: "10.96.0.5", clusterIPs: ["10.96.0.6"] },
      /first value must match `clusterIP`/,
    ],
    ["no ports", () => dual, { ports: [] }, /spec.ports: Required value/],
    [
      "two ports without names",
      () => dual,
      { ports: [{ port: 1 }, { port: 2 }] },
      /spec.ports\[0\].name: Required value/,
    ],
    [
      "a port twice",
      () => dual,
      {
        ports: [
          { name: "a", port: 1 },
          { name: "b", port: 1 },
        ],
      },
      /spec.ports\[1\]: Duplicate value/,
    ],
    [
      "a NodePort of a ClusterIP",
      () => dual,
      { ports: [{ port: 1, nodePort: 30001 }] },
      /spec.ports\[0\].nodePort: Forbidden: may not be used when 'type' is 'ClusterIP'/,
    ],
    [
      "a NodePort outside of the range",
      () => dual,
      { type: "NodePort", ports: [{ port: 1, nodePort: 80 }] },
      /not in the valid range. The range of valid ports is 30000-32767/,
    ],
    [
      "an external name without one",
      () => dual,
      { type: "ExternalName" },
      /spec.externalName: Required value/,
    ],
    [
      "a loopback external IP",
      () => dual,
      { externalIPs: ["127.0.0.1"] },
      /spec.externalIPs\[0\]: .*loopback/,
    ],
    ["an unknown type", () => dual, { type: "Cluster" }, /spec.type: Unsupported value: "Cluster"/],
  ];
  for (const [name, api, spec, message] of refused) {
    test(`${name} is refused by field`, async () => {
      const made = await create(api(), spec);
      expect(made.message).toMatch(message);
      expect(made.code).toBe(422);
    });
  }
});

describe("changes", () => {
  test("addresses stay when a client leaves them out, and may not change", async () => {
    const { name, spec } = await create(dual, {});
    const put = await dual.send("PUT", `${path}/${name}`, {
      metadata: { name },
      spec: { ports: [{ port: 81 }] },
    });
    expect(put.body.spec?.clusterIP as unknown as string).toBe(spec.clusterIP as string);
    const moved = await patch(dual, name, { clusterIP: "10.96.0.99", clusterIPs: ["10.96.0.99"] });
    expect(moved.message).toMatch(/spec.clusterIPs\[0\].*may not change once set/);
  });

  test("to two families and back", async () => {
    const { name, spec } = await create(dual, {});
    const two = await patch(dual, name, { ipFamilyPolicy: "PreferDualStack" });
    expect(two.spec.clusterIPs).toHaveLength(2);
    expect(two.spec.clusterIPs?.[0]).toBe(spec.clusterIP as string);
    const one = await patch(dual, name, { ipFamilyPolicy: "SingleStack" });
    expect(one.spec).toMatchObject({ clusterIPs: [spec.clusterIP as string], ipFamilies: ["IPv4"] });
    const taken = await create(dual, { ipFamilies: ["IPv6"], clusterIP: two.spec.clusterIPs?.[1] });
    expect(taken.code).toBe(201);
  });

  test("to NodePort and back gives the port up", async () => {
    const { name } = await create(dual, {});
    const node = await patch(dual, name, { type: "NodePort" });
    const port = node.spec.ports?.[0]?.nodePort as number;
    expect(port).toBeGreaterThanOrEqual(30000);
    expect(node.spec.externalTrafficPolicy).toBe("Cluster");
    const back = await patch(dual, name, { type: "ClusterIP" });
    expect(back.spec.ports?.[0]?.nodePort).toBeUndefined();
    expect(back.spec.externalTrafficPolicy).toBeUndefined();
    expect((await create(dual, { type: "NodePort", ports: [{ port: 1, nodePort: port }] })).code).toBe(201);
    expect((await create(dual, { type: "NodePort", ports: [{ port: 1, nodePort: port }] })).message).toMatch(
      /provided port is already allocated/,
    );
  });

  test("to an external name and back", async () => {
    const { name } = await create(dual, {});
    const external = await patch(dual, name, { type: "ExternalName", externalName: "example.com" });
    expect(external.spec.clusterIPs).toBeUndefined();
    const back = await patch(dual, name, { type: "ClusterIP", externalName: null });
    expect(back.spec.clusterIPs).toHaveLength(1);
  });

  test("a load balancer that keeps sources has a port for health checks; both protocols of a port share a NodePort", async () => {
    const ports = [
      { name: "u", port: 53, protocol: "UDP" },
      { name: "t", port: 53, protocol: "TCP" },
    ];
    const { spec } = await create(dual, { type: "LoadBalancer", externalTrafficPolicy: "Local", ports });
    expect(spec.healthCheckNodePort).toBeGreaterThanOrEqual(30000);
    expect(spec.ports?.[0]?.nodePort).toBe(spec.ports?.[1]?.nodePort as number);
    const without = await create(dual, { type: "LoadBalancer", allocateLoadBalancerNodePorts: false });
    expect(without.spec.ports?.[0]?.nodePort).toBeUndefined();
  });

  test("a range that is full is an error, until one is given back", async () => {
    const made: string[] = [];
    let last = await create(single, {});
    while (last.code === 201) {
      made.push(last.name);
      last = await create(single, {});
    }
    expect([last.code, last.message]).toEqual([
      500,
      "Internal error occurred: failed to allocate a serviceIP: range is full (IPv4)",
    ]);
    await single.send("DELETE", `${path}/${made[0]}`);
    const again = await create(single, {});
    expect(again.code).toBe(201);
    for (const name of [...made.slice(1), again.name]) await single.send("DELETE", `${path}/${name}`);
    for (let i = 0; i < 4; i++) expect((await create(single, { type: "NodePort" })).code).toBe(201);
    expect((await create(single, { type: "NodePort" })).message).toMatch(
      /failed to allocate a nodePort: range is full/,
    );
  });
});

describe("ServiceAllocator", () => {
  const wrong: [cidrs: string[], problem: RegExp][] = [
    [[], /serviceCidrs/],
    [["10.0.0.0/16", "10.1.0.0/16"], /is not one network, or one of each family/],
    [["10.0.0.1/16"], /serviceCidrs\[0\]: "10.0.0.1\/16" has host bits set/],
    [["10.0.0.0/30"], /is too small/],
  ];
  for (const [cidrs, problem] of wrong) {
    test(`${JSON.stringify(cidrs)} is refused`, () => {
      const make = () => new ServiceAllocator({ cidrs: cidrs.map((text) => Prefix.parse(text)) });
      expect(make).toThrow(InvalidInput);
      expect(make).toThrow(problem);
    });
  }

  test("never gives out what is held, and finds what is free (random run against a set, seed 17)", () => {
    const allocator = new ServiceAllocator({
      cidrs: [Prefix.parse("10.0.0.0/26"), Prefix.parse("fd00::/64")],
    });
    const random = seeded(17);
    const held = new Map<string, Service>();
    const used = new Set<string>();
    for (let step = 0; step < 3000; step++) {
      const key = `n/s${random(80)}`;
      const old = held.get(key);
      if (old !== undefined) {
        allocator.update(key, undefined, old);
        for (const ip of old.spec.clusterIPs ?? []) used.delete(ip);
        held.delete(key);
        continue;
      }
      const free = allocator.freeAddress(4);
      expect(free instanceof Ip).toBe(used.size < 62);
      if (!(free instanceof Ip)) continue;
      expect(used.has(free.toString())).toBe(false);
      expect(allocator.checkAddress(free, key)).toBeUndefined();
      const service: Service = { metadata: { name: key }, spec: { clusterIPs: [free.toString()] } };
      allocator.update(key, service, undefined);
      expect(allocator.checkAddress(free, "other")).toBe("taken");
      held.set(key, service);
      used.add(free.toString());
    }
  });
});
