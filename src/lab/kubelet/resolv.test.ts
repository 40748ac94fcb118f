import { describe, expect, test } from "bun:test";
import type { Pod, PodSpec } from "../../kube/types.ts";
import { podHosts, podResolvConf } from "./resolv.ts";

const settings = {
  clusterDns: ["10.96.0.10", "fd00:10:96::a"],
  clusterDomain: "cluster.local",
  nodeResolvConf: "nameserver 192.0.2.53\n",
};
const pod = (spec: Partial<PodSpec> = {}): Pod => ({
  metadata: { name: "web-0", namespace: "shop" },
  spec: { containers: [], ...spec },
});
const cluster =
  "nameserver 10.96.0.10\nnameserver fd00:10:96::a\nsearch shop.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n";

describe("podResolvConf", () => {
  const cases: [string, Partial<PodSpec>, string][] = [
    ["asks the cluster's DNS by default", {}, cluster],
    ["asks the node's where the pod has the node's network", { hostNetwork: true }, settings.nodeResolvConf],
    [
      "asks the cluster's from the node's network where told to",
      { hostNetwork: true, dnsPolicy: "ClusterFirstWithHostNet" },
      cluster,
    ],
    ["takes the node's for Default", { dnsPolicy: "Default" }, settings.nodeResolvConf],
    [
      "takes only the pod's own for None",
      {
        dnsPolicy: "None",
        dnsConfig: {
          nameservers: ["192.0.2.1"],
          searches: ["a.example"],
          options: [{ name: "ndots", value: "2" }],
        },
      },
      "nameserver 192.0.2.1\nsearch a.example\noptions ndots:2\n",
    ],
    [
      "adds the pod's own, whose options win",
      { dnsConfig: { searches: ["a.example"], options: [{ name: "ndots", value: "1" }, { name: "edns0" }] } },
      "nameserver 10.96.0.10\nnameserver fd00:10:96::a\nsearch shop.svc.cluster.local svc.cluster.local cluster.local a.example\noptions ndots:1 edns0\n",
    ],
  ];
  for (const [what, spec, expected] of cases) {
    test(what, () => expect(podResolvConf(pod(spec), settings)).toBe(expected));
  }
});

test("podHosts names the pod in its subdomain", () => {
  const text = podHosts(
    pod({ subdomain: "web", hostname: "web-0" }),
    ["10.244.1.2", "fd00::2"],
    "cluster.local",
  );
  expect(text).toContain("10.244.1.2\tweb-0.web.shop.svc.cluster.local\tweb-0\n");
  expect(text).toContain("fd00::2\tweb-0.web.shop.svc.cluster.local\tweb-0\n");
  expect(text.startsWith("127.0.0.1\tlocalhost\n")).toBe(true);
});
