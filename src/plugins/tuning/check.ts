import type { PluginRequest } from "../../cni/plugin.ts";
import { isNotPermitted } from "../../linux/errors.ts";
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
  const text = textOf(path);
  const actual = text === undefined ? undefined : words(text);
  if (actual === undefined || actual === words(value)) return;
  throw mismatch(`Tuning configured value of ${path} is ${value}, current value is ${actual}`);
}

/** Undefined for what can be written only, such as net.ipv4.route.flush: it has no value. */
function textOf(path: string): string | undefined {
  try {
    return readText(path);
  } catch (error) {
    if (isNotPermitted(error)) return undefined;
    throw error;
  }
}

function words(text: string): string {
  return text.trim().replace(/\s+/g, " ");
}
