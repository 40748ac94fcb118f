import { afterAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Fields, type JsonObject } from "../../cni/fields.ts";
import { FakeMachine } from "../../linux/fake/index.ts";
import type { Link } from "../../linux/route/link.ts";
import { describeSelector, findDevice, isSelected, parseDataDir, parseHostDevice } from "./config.ts";

const sysfs = mkdtempSync(join(tmpdir(), "weft-t-sysfs-"));
afterAll(() => rmSync(sysfs, { recursive: true }));

/** A device on a bus: its driver, and the links of itself or, with virtio, of the device below. */
function plug(bus: string, id: string, driver: string | undefined, folders: readonly string[] = []): void {
  const device = join(sysfs, "bus", bus, "devices", id);
  mkdirSync(device, { recursive: true });
  for (const folder of folders) mkdirSync(join(device, folder), { recursive: true });
  if (driver !== undefined) symlinkSync(`../../drivers/${driver}`, join(device, "driver"));
}

plug("pci", "0000:03:00.0", "igb", ["net/eth9"]);
plug("pci", "0000:03:10.1", "vfio-pci");
plug("pci", "0000:03:10.3", "uio_pci_generic");
plug("pci", "0000:03:10.5", "igb_uio");
plug("pci", "0000:04:00.0", "virtio-pci", ["virtio2/net/eth8"]);
plug("pci", "0000:05:00.0", undefined);
plug("pci", "0000:06:00.0", "igb", ["net"]);
plug("pci", "0000:07:00.0", "igb", ["net/elsewhere", "net/eth9"]);
plug("auxiliary", "mlx5_core.sf.2", "mlx5_core.sf", ["net/eth9"]);
mkdirSync(join(sysfs, "devices/pci0000:00/0000:03:00.0/net/eth9"), { recursive: true });

const machine = new FakeMachine();
const { rtnl } = machine.kernel();
for (const [name, mac] of [
  ["eth8", "02:00:00:00:00:08"],
  ["eth9", "02:00:00:00:00:09"],
] as const) {
  rtnl.links.add({ kind: "dummy", name, mac });
}

const parse = (config: JsonObject) => parseHostDevice(new Fields(config), sysfs);

const found: [string, JsonObject, string | undefined][] = [
  ["device", { device: "eth9" }, "eth9"],
  ["a device that is not there", { device: "eth7" }, undefined],
  ["hwaddr", { hwaddr: "02:00:00:00:00:08" }, "eth8"],
  ["hwaddr with dashes and capitals", { hwaddr: "02-00-00-00-00-09" }, "eth9"],
  ["hwaddr with dots", { hwaddr: "0200.0000.0009" }, "eth9"],
  ["kernelpath", { kernelpath: "/sys/devices/pci0000:00/0000:03:00.0" }, "eth9"],
  ["kernelpath without a link", { kernelpath: "/sys/devices/pci0000:00" }, undefined],
  ["pciBusID", { pciBusID: "0000:03:00.0" }, "eth9"],
  ["pciBusID of virtio", { pciBusID: "0000:04:00.0" }, "eth8"],
  ["pciBusID whose link is elsewhere", { pciBusID: "0000:06:00.0" }, undefined],
  ["pciBusID with several links", { pciBusID: "0000:07:00.0" }, "eth9"],
  ["deviceID of PCI", { runtimeConfig: { deviceID: "0000:03:00.0" } }, "eth9"],
  [
    "deviceID before pciBusID",
    { pciBusID: "0000:04:00.0", runtimeConfig: { deviceID: "0000:03:00.0" } },
    "eth9",
  ],
  [
    "deviceID of an auxiliary device",
    { pciBusID: "no", runtimeConfig: { deviceID: "mlx5_core.sf.2" } },
    "eth9",
  ],
  [
    "device before all others",
    { device: "eth8", hwaddr: "02:00:00:00:00:09", pciBusID: "0000:03:00.0" },
    "eth8",
  ],
  [
    "hwaddr before kernelpath",
    { hwaddr: "02:00:00:00:00:08", kernelpath: "/sys/devices/pci0000:00/0000:03:00.0" },
    "eth8",
  ],
];
test.each(found)("finds the link by %s", (_, config, name) => {
  const { selector } = parse(config);
  expect(selector).toBeDefined();
  expect(selector === undefined ? "" : findDevice(rtnl, selector, sysfs)?.name).toBe(name);
  expect(selector === undefined ? "" : describeSelector(selector)).toMatch(/device/);
});

test("prefers hardware to what was made on it with its address", () => {
  const kernel = new FakeMachine().kernel();
  const { mac } = kernel.rtnl.links.get("lo");
  kernel.rtnl.links.add({ kind: "dummy", name: "d0", mac: mac ?? "" });
  const selector = { by: "hwaddr" as const, mac: mac ?? "" };
  expect(findDevice(kernel.rtnl, selector, sysfs)?.name).toBe("lo");
});

const moved: [string, JsonObject, Partial<Link>, boolean][] = [
  ["device", { device: "eth9" }, { alias: "eth9" }, true],
  ["another device", { device: "eth9" }, { alias: "eth8" }, false],
  ["hwaddr", { hwaddr: "02:00:00:00:00:09" }, { mac: "02:00:00:00:00:09" }, true],
  [
    "hwaddr, which the container changed",
    { hwaddr: "02:00:00:00:00:09" },
    { permanentMac: "02:00:00:00:00:09" },
    true,
  ],
  ["another hwaddr", { hwaddr: "02:00:00:00:00:07" }, {}, false],
  ["pciBusID", { pciBusID: "0000:03:00.0" }, { busDevice: "0000:03:00.0" }, true],
  ["another pciBusID", { pciBusID: "0000:03:00.0" }, { busDevice: "0000:06:00.0" }, false],
  ["pciBusID of what is on no bus", { pciBusID: "0000:03:00.0" }, {}, false],
  ["pciBusID of virtio", { pciBusID: "0000:04:00.0" }, { busDevice: "virtio2" }, true],
  ["pciBusID of another virtio", { pciBusID: "0000:04:00.0" }, { busDevice: "virtio3" }, false],
  ["kernelpath", { kernelpath: "/sys/devices/pci0/0000:03:00.0" }, { busDevice: "0000:03:00.0" }, true],
  [
    "deviceID of an auxiliary device",
    { runtimeConfig: { deviceID: "mlx5_core.sf.2" } },
    { busDevice: "mlx5_core.sf.2" },
    true,
  ],
];
test.each(moved)("knows a link in a container by %s", (_, config, properties, isIt) => {
  const { selector } = parse(config);
  const link = { ...rtnl.links.get("eth8"), name: "net1", ...properties };
  expect(selector && isSelected(link, selector, sysfs)).toBe(isIt);
});

const drivers: [string, boolean][] = [
  ["0000:03:00.0", false],
  ["0000:03:10.1", true],
  ["0000:03:10.3", true],
  ["0000:03:10.5", true],
  ["0000:04:00.0", false],
  // Without a driver, and not there.
  ["0000:05:00.0", false],
  ["0000:99:00.0", false],
];
test.each(drivers)("PCI device %s has a driver in userspace: %p", (pciBusID, isUserspace) => {
  expect(parse({ pciBusID })).toMatchObject({ isUserspace, pciId: pciBusID });
});

describe("parseHostDevice", () => {
  test("knows no device where none is named", () => {
    expect(parse({})).toEqual({ isUserspace: false, useInterfaceNetwork: false });
    expect(parse({ device: "", hwaddr: "", kernelpath: "", pciBusID: "" }).selector).toBeUndefined();
  });

  const refused: [JsonObject, RegExp][] = [
    [{ device: "a/b" }, /device: "a\/b" is not an interface name/],
    [{ hwaddr: "02:00" }, /hwaddr: "02:00" is not/],
    [{ hwaddr: "0200:0000:0009" }, /hwaddr/],
    [{ kernelpath: "/sys/class/net/eth0" }, /kernelpath: .* is not a path below/],
    [{ kernelpath: "/sys/devices/../class" }, /kernelpath/],
    [{ kernelpath: "devices/pci" }, /kernelpath/],
    [{ pciBusID: "../../x" }, /pciBusID: .* is not a device's address/],
    [{ runtimeConfig: { deviceID: ".." } }, /deviceID/],
    [{ runtimeConfig: { deviceID: "0000:99:00.0" } }, /is neither a PCI nor an auxiliary device/],
  ];
  test.each(refused)("refuses %j", (config, message) => {
    expect(() => parse(config)).toThrow(message);
  });
});

test("records lie in a folder of the boot, or in an absolute one", () => {
  expect(parseDataDir(new Fields({}))).toBe("/run/weft/host-device");
  expect(parseDataDir(new Fields({ dataDir: "/x" }))).toBe("/x");
  expect(() => parseDataDir(new Fields({ dataDir: "x" }))).toThrow(/dataDir/);
});
