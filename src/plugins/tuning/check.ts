import type { PluginRequest } from "../../cni/plugin.ts";
import { readText } from "../../linux/lean/files.ts";
import { LeanRtnl } from "../../linux/lean/rtnl.ts";
import { inNamespace } from "../../linux/lean/socket.ts";
import { mismatch } from "../shared/check-link.ts";
import { openNetns } from "../shared/netns.ts";
import type { Sysctl, TuningConfig } from "./config.ts";

/** Compares what is configured with what is there. Throws a CniError that names the difference. */
export function checkTuning({ invocation }: PluginRequest, config: TuningConfig): void {
  using netns = openNetns(invocation.netns);
  inNamespace(netns.fd, () => {
    for (const sysctl of config.sysctls) checkSysctl(sysctl);
  });
  const { ifname } = invocation;
  using rtnl = new LeanRtnl(netns.fd);
  const link = rtnl.find(ifname);
  if (link === undefined) throw mismatch(`Cannot find container link ${ifname}`);
  const { mac, mtu, txQueueLength, allMulticast } = config.link;
  const settings: [string, unknown, unknown][] = [
    ["Ethernet", mac, link.mac],
    ["promisc", config.promiscuous, link.promiscuous],
    ["MTU", mtu, link.mtu],
    ["Transmit Queue Length", txQueueLength, link.txQueueLength],
    ["all-multicast mode", allMulticast, link.allMulticast],
  ];
  for (const [name, wanted, actual] of settings) {
    if (wanted === undefined || wanted === actual) continue;
    throw mismatch(`Tuning configured ${name} of ${ifname} is ${wanted}, current value is ${actual}`);
  }
}

/** The kernel separates the numbers of a parameter by tabs, people by blanks. */
function checkSysctl({ path, value }: Sysctl): void {
  const actual = words(readText(path));
  if (actual === words(value)) return;
  throw mismatch(`Tuning configured value of ${path} is ${value}, current value is ${actual}`);
}

function words(text: string): string {
  return text.trim().replace(/\s+/g, " ");
}
