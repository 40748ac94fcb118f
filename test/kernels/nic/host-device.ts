/**
 * The host-device plugin with two PCI cards, run by ../host-device.test.ts in a guest of vm-run --nic pci:
 *
 *     container -- an e1000 or a virtio card == cable == the other one -- host
 */
import { afterEach, beforeAll, expect, test } from "bun:test";
import { readlinkSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { basename } from "node:path";
import type { JsonObject } from "../../../src/cni/fields.ts";
import { runPlugin } from "../../../src/cni/skeleton.ts";
import { type Kernel, openKernel } from "../../../src/linux/kernel.ts";
import { createNetns, deleteNetns } from "../../../src/linux/netns.ts";
import type { Link } from "../../../src/linux/route/link.ts";
import { hostDevice } from "../../../src/plugins/host-device/host-device.ts";
import { staticIpam } from "../../../src/plugins/ipam/static.ts";

const [container, host] = ["weft-t-nic", openKernel()];
const records = "/run/weft-t-devices";

interface Card {
  name: string;
  mac: string;
  pci: string;
}

/** The card to which vm-run gave a hardware address. */
function cardOf(mac: string): Card {
  const name = host.rtnl.links.list().find((link) => link.mac === mac)?.name ?? "";
  // A virtio card's link is of a device below that of PCI.
  const pci = realpathSync(`/sys/class/net/${name}/device`)
    .split("/")
    .findLast((part) => /^[0-9a-f]{4}:/.test(part));
  return { name, mac, pci: pci ?? "" };
}

const cards: Record<string, Card> = {};
beforeAll(() => {
  const loaded = Bun.spawnSync(["modprobe", "-a", "e1000", "virtio_net", "uio_pci_generic"]);
  expect(loaded.exitCode).toBe(0);
  cards.e1000 = cardOf("52:54:00:00:00:20");
  cards.virtio = cardOf("52:54:00:00:00:21");
});

afterEach(() => {
  deleteNetns(container);
  rmSync(records, { recursive: true, force: true });
});

/** One call of the plugin, in this process: starting executables takes seconds here. */
async function call(command: string, more: JsonObject, netns = `/run/netns/${container}`) {
  const config = { cniVersion: "1.1.0", name: "net", type: "host-device", dataDir: records, ...more };
  let [stdout, stderr] = ["", ""];
  const status = await runPlugin(hostDevice, {
    env: {
      CNI_COMMAND: command,
      CNI_CONTAINERID: "nic",
      CNI_NETNS: netns,
      CNI_IFNAME: "net1",
      CNI_PATH: "/nowhere",
    },
    readStdin: () => JSON.stringify(config),
    writeStdout: (text) => {
      stdout += text;
    },
    writeStderr: (text) => {
      stderr += text;
    },
    isOwnNetns: () => false,
    builtin: async (type) => (type === "static" ? staticIpam : undefined),
  });
  return { status, stdout, stderr };
}

async function succeed(command: string, more: JsonObject, netns?: string): Promise<JsonObject> {
  const { status, stdout, stderr } = await call(command, more, netns);
  if (status !== 0) throw new Error(`${command}: ${stdout}${stderr}`);
  return stdout === "" ? {} : JSON.parse(stdout);
}

/** Runs `action` with the kernel of a fresh container. */
async function inContainer(action: (kernel: Kernel) => Promise<void>): Promise<void> {
  createNetns(container);
  const kernel = openKernel({ name: container });
  try {
    await action(kernel);
  } finally {
    kernel.close();
  }
}

/** Waits until something is there, which hardware takes a while for. */
async function appears<T>(what: () => T | undefined): Promise<T> {
  for (const deadline = Date.now() + 60_000; Date.now() < deadline; await Bun.sleep(100)) {
    const found = what();
    if (found !== undefined) return found;
  }
  throw new Error("it does not appear");
}

const selectors: [string, string, (card: Card) => JsonObject][] = [
  ["e1000", "pciBusID", ({ pci }) => ({ pciBusID: pci })],
  ["virtio", "pciBusID", ({ pci }) => ({ pciBusID: pci })],
  ["e1000", "deviceID", ({ pci }) => ({ runtimeConfig: { deviceID: pci } })],
  ["e1000", "kernelpath", ({ pci }) => ({ kernelpath: realpathSync(`/sys/bus/pci/devices/${pci}`) })],
  ["virtio", "hwaddr", ({ mac }) => ({ hwaddr: mac.toUpperCase() })],
];
test.each(selectors)("%s by %s is moved, and comes back with its name and state", async (model, by, of) => {
  const card = cards[model] as Card;
  host.rtnl.links.set(card.name, { up: by !== "deviceID", mtu: 1400 });
  const before = host.rtnl.links.get(card.name);
  await inContainer(async ({ rtnl }) => {
    const result = await succeed("ADD", of(card));
    const link = rtnl.links.get("net1");
    expect(link).toMatchObject({ up: true, alias: card.name, mac: card.mac, mtu: 1400 });
    const pciID = by === "pciBusID" || by === "deviceID" ? { pciID: card.pci } : {};
    expect(result.interfaces).toEqual([
      { name: "net1", mac: card.mac, mtu: 1400, sandbox: `/run/netns/${container}`, ...pciID },
    ]);
    expect(host.rtnl.links.find(card.name)).toBeUndefined();
    await succeed("CHECK", { ...of(card), prevResult: { cniVersion: "1.1.0", ...result } });
    rtnl.links.set("net1", { mtu: 1300 });
    await succeed("DEL", of(card));
    const { up, mtu, mac, index, alias } = host.rtnl.links.get(card.name);
    expect({ up, mtu, mac, index, alias }).toEqual({
      up: before.up,
      mtu: 1400,
      mac: card.mac,
      index: before.index,
      alias: undefined,
    });
  });
});

test.each(selectors)("%s by %s comes back under its name without a record too", async (model, _, of) => {
  const [card, other] = [cards[model] as Card, cards[model === "virtio" ? "e1000" : "virtio"] as Card];
  await inContainer(async ({ rtnl }) => {
    await succeed("ADD", of(card));
    rmSync(records, { recursive: true });
    await succeed("DEL", of(other));
    expect(rtnl.links.get("net1")).toMatchObject({ alias: card.name, mac: card.mac });
    await succeed("DEL", of(card));
    expect(host.rtnl.links.get(card.name)).toMatchObject({ mac: card.mac, up: false });
  });
});

test("frames pass between the card in the container and the one on the host", async () => {
  const [mine, other] = [cards.e1000 as Card, cards.virtio as Card];
  host.rtnl.links.set(other.name, { up: true });
  host.rtnl.addresses.replace({ link: other.name, address: "10.60.0.1/24" });
  const ipam = { type: "static", addresses: [{ address: "10.60.0.2/24" }] };
  await inContainer(async () => {
    await succeed("ADD", { pciBusID: mine.pci, ipam });
    const ping = ["ip", "netns", "exec", container, "ping", "-c", "1", "-w", "30", "10.60.0.1"];
    expect(Bun.spawnSync(ping).exitCode).toBe(0);
    await succeed("DEL", { pciBusID: mine.pci, ipam });
  });
});

// The kernel gives hardware back under the name that it had in the container, or "dev2" and the like where that is taken.
for (const isRemembered of [true, false]) {
  for (const isTaken of [true, false]) {
    const case_ = `${isRemembered ? "remembered" : "forgotten"}, its name in the container ${isTaken ? "taken" : "free"}`;
    test(`a card comes home whose namespace has gone: ${case_}`, async () => {
      const card = cards.e1000 as Card;
      const device = { device: card.name };
      host.rtnl.links.set(card.name, { up: true, mtu: 1400 });
      await inContainer(async () => void (await succeed("ADD", device)));
      if (!isRemembered) rmSync(records, { recursive: true });
      if (isTaken) host.rtnl.links.add({ kind: "dummy", name: "net1" });
      try {
        deleteNetns(container);
        const isBack = () => host.rtnl.links.list().find(({ mac }) => mac === card.mac);
        // Without a record nobody can know that it is worth waiting for.
        if (!isRemembered)
          expect((await appears<Link>(isBack)).name).toMatch(isTaken ? /^dev\d+$/ : /^net1$/);
        await succeed("DEL", device);
        expect(host.rtnl.links.get(card.name)).toMatchObject({ mac: card.mac, up: isRemembered });
      } finally {
        if (isTaken) host.rtnl.links.delete("net1");
      }
    });
  }
}

test("a card with a driver in userspace stays where it is, and has addresses in the result alone", async () => {
  const { pci, name } = cards.e1000 as Card;
  const device = `/sys/bus/pci/devices/${pci}`;
  const bind = (driver: string) => {
    writeFileSync(`${device}/driver_override`, driver);
    writeFileSync(`${device}/driver/unbind`, pci);
    writeFileSync("/sys/bus/pci/drivers_probe", pci);
    expect(basename(readlinkSync(`${device}/driver`))).toBe(driver);
  };
  bind("uio_pci_generic");
  const ipam = { type: "static", addresses: [{ address: "10.60.0.2/24" }] };
  await inContainer(async ({ rtnl }) => {
    const result = await succeed("ADD", { pciBusID: pci, ipam });
    expect(result).toMatchObject({
      interfaces: [{ name: "net1", sandbox: `/run/netns/${container}`, pciID: pci }],
      ips: [{ interface: 0, address: "10.60.0.2/24" }],
    });
    expect(rtnl.links.list().map((link) => link.name)).toEqual(["lo"]);
    await succeed("CHECK", { pciBusID: pci, ipam, prevResult: result });
    expect((await call("ADD", { pciBusID: pci, useInterfaceNetwork: true })).stdout).toContain(
      "not supported",
    );
    await succeed("STATUS", { pciBusID: pci }, "");
    await succeed("DEL", { pciBusID: pci, ipam });
  });
  bind("e1000");
  await appears(() => host.rtnl.links.find(name));
});
