import type { JsonObject } from "../../../src/cni/fields.ts";
import type { Case, Family } from "./case.ts";
import { add, changed, refused, v4 } from "./common.ts";

/** A device of the host, up, with an address and a wire to nobody. */
const device = `ip link add blue0 address 02:00:00:00:00:05 type veth peer name far address 02:00:00:00:00:06
  ip link set blue0 up; ip link set far up; ip address add 198.51.100.9/24 dev blue0`;
const of = (more: JsonObject = {}): JsonObject => ({
  type: "host-device",
  device: "blue0",
  ipam: v4,
  ...more,
});

const cases: Case[] = [
  { name: "by name", setup: device, config: of() },
  { name: "without ipam", setup: device, config: of({ ipam: undefined }) },
  {
    name: "by hardware address",
    setup: device,
    config: of({ device: undefined, hwaddr: "02:00:00:00:00:05" }),
  },
  {
    name: "by kernelpath",
    // The host's own view, which is that of its network namespace.
    setup: `mount -t sysfs sysfs /sys; ${device}`,
    config: of({ device: undefined, kernelpath: "/sys/devices/virtual/net/blue0" }),
  },
  {
    name: "a device that is down",
    setup: "ip link add blue0 address 02:00:00:00:00:05 type veth peer name far",
    config: of({ ipam: undefined }),
  },
  {
    name: "both families with routes",
    setup: device,
    config: of({
      ipam: {
        type: "host-local",
        ranges: [[{ subnet: "10.77.0.0/24" }], [{ subnet: "fd77::/64" }]],
        routes: [{ dst: "0.0.0.0/0" }, { dst: "::/0" }],
      },
    }),
  },
  {
    name: "static addresses",
    setup: device,
    config: of({ ipam: { type: "static", addresses: [{ address: "10.77.0.9/24" }] } }),
  },
  { name: "the same name in the container", setup: device, ifname: "blue0", config: of() },
  {
    name: "a name that is taken on the host by the time of DEL",
    setup: device,
    config: of({ ipam: undefined }),
    steps: ["ADD", { at: "host", run: "ip link add blue0 type veth peer name x" }, "DEL"],
  },
  {
    name: "the interface is taken",
    setup: device,
    config: of(),
    steps: [{ at: "c1", run: "ip link add eth0 type veth peer name x" }, "ADD"],
  },
  { name: "a device that there is not", config: of(), steps: refused },
  { name: "no device named", setup: device, config: of({ device: undefined }), steps: ["ADD"] },
  {
    name: "a hardware address that nobody has",
    setup: device,
    config: of({ device: undefined, hwaddr: "02:00:00:00:00:99" }),
    steps: refused,
  },
  {
    name: "CHECK misses an address",
    setup: device,
    config: of(),
    steps: changed("c1", "ip address del 10.77.0.2/24 dev eth0"),
  },
  {
    name: "DEL without prevResult",
    setup: device,
    config: of(),
    steps: ["ADD", { verb: "DEL", forgotten: true }],
  },
  {
    name: "ADD for another container meanwhile",
    setup: device,
    config: of(),
    steps: ["ADD", add("c2"), "DEL"],
  },
  { name: "version 0.3.1", cniVersion: "0.3.1", setup: device, config: of() },
];

export const hostDevice: Family = { plugin: "host-device", needs: [], cases };
