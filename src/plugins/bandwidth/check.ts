import { CniError, cniErrorCode } from "../../cni/errors.ts";
import type { GcRequest, PluginRequest } from "../../cni/plugin.ts";
import type { Result } from "../../cni/result.ts";
import { isErrno, isNotSupported } from "../../linux/errors.ts";
import { LeanRtnl } from "../../linux/lean/rtnl.ts";
import { Rtnl } from "../../linux/route/rtnl.ts";
import type { Filter } from "../../linux/route/tc.ts";
import { attachmentOf } from "../shared/attachment.ts";
import { hostEnd } from "../shared/host-end.ts";
import { collectLinks } from "../shared/links-gc.ts";
import { type BandwidthConfig, bucketOf, isCutOff, type Shape } from "./config.ts";
import { findIfb, ifbKind, withoutKernelSupport } from "./ifb.ts";
import {
  defaultClassOf,
  matchesOf,
  rootHandle,
  shapedClass,
  sortedClassOf,
  unlimited,
  unshapedClass,
} from "./subnets.ts";

function wrong(problem: string): CniError {
  return new CniError(cniErrorCode.internal, problem, {
    remedy: "Delete the container's sandbox and make it anew",
  });
}

interface Checked {
  rtnl: Rtnl;
  config: BandwidthConfig;
}

/** The link by whose qdisc one direction is limited. */
interface Limited {
  index: number;
  name: string;
}

/**
 * Compares limits, classes and filters with the configuration. Those that the reference plugin makes are right too, in the
 * form of its older versions (tbf) and of its newer (htb). Throws a {@link CniError} that names what differs.
 */
export function checkBandwidth(request: PluginRequest, config: BandwidthConfig, prevResult: Result): void {
  const { ingress, egress } = config;
  if (ingress === undefined && egress === undefined) return;
  using host = new LeanRtnl();
  const port = hostEnd(request, host, prevResult);
  using rtnl = new Rtnl();
  const checked = { rtnl, config };
  if (ingress !== undefined) checkLimit(checked, port, ingress);
  if (egress === undefined) return;
  const ifb = findIfb(host, attachmentOf(request));
  if (ifb === undefined) throw wrong("the ifb device, which limits what the container sends, is missing");
  if (!ifb.up) throw wrong(`${ifb.name} is down`);
  checkLimit(checked, ifb, egress);
  const hasIngress = rtnl.tc.qdiscs(port.index).some(({ kind }) => kind === "ingress" || kind === "clsact");
  const redirects = hasIngress ? rtnl.tc.filters(port.index, "ffff:") : [];
  if (!redirects.some((filter) => isRedirectTo(filter, ifb.index))) {
    throw wrong(`what arrives at ${port.name} is not redirected to ${ifb.name}`);
  }
}

function isRedirectTo({ u32 }: Filter, index: number): boolean {
  return (u32?.actions ?? []).some(
    (action) =>
      "mirred" in action && action.mirred.action === "egress redirect" && action.mirred.link === index,
  );
}

function checkLimit(checked: Checked, link: Limited, shape: Shape): void {
  const { rtnl, config } = checked;
  const qdisc = rtnl.tc.qdiscs(link.index).find(({ parent }) => parent === "root");
  const { tbf, htb } = qdisc ?? {};
  if (tbf !== undefined && config.subnets.length === 0) {
    requireRate(link.name, tbf, shape);
    return;
  }
  if (htb === undefined) throw wrong(`Failed to find qdisc of ${link.name}: it has ${qdisc?.kind ?? "none"}`);
  if (htb.defaultClass !== defaultClassOf(config))
    throw wrong(`Default class of ${link.name} does not match`);
  checkClasses(checked, link, shape);
  if (config.subnets.length > 0) checkFilters(checked, link);
}

function checkClasses({ rtnl }: Checked, link: Limited, shape: Shape): void {
  const classes = rtnl.tc.classes(link.index);
  const rates = (handle: string) => {
    const found = classes.find((each) => each.handle === handle)?.htb;
    if (found === undefined) throw wrong(`class ${handle} of ${link.name} is missing`);
    return found;
  };
  requireRate(link.name, { burst: 0, ...rates(shapedClass) }, shape);
  const { rate } = rates(unshapedClass);
  if (rate === unlimited) return;
  throw wrong(`Rate does not match for the uncapped class of ${link.name} (${rate} != ${unlimited})`);
}

function requireRate(name: string, found: { rate: number; burst: number }, shape: Shape): void {
  const bucket = bucketOf(shape);
  if (found.rate !== bucket.rate) {
    throw wrong(`Rate of ${name} does not match (${found.rate} != ${bucket.rate} bytes a second)`);
  }
  const burst = Math.round(bucket.bytes);
  if (found.burst !== burst && !isCutOff(bucket)) {
    throw wrong(`Burst of ${name} does not match (${found.burst} != ${burst} bytes)`);
  }
}

function checkFilters({ rtnl, config }: Checked, link: Limited): void {
  const filters = rtnl.tc.filters(link.index, rootHandle);
  const present = filters.filter(({ u32 }) => u32?.classId === sortedClassOf(config));
  for (const subnet of config.subnets) {
    const protocol = subnet.family === 4 ? "ip" : "ipv6";
    // The reference plugin has the destination in both directions.
    const wanted = (["src", "dst"] as const).map((side) => JSON.stringify(matchesOf(subnet, side)));
    const isThere = present.some(
      (filter) => filter.protocol === protocol && wanted.includes(JSON.stringify(filter.u32?.match)),
    );
    if (!isThere) throw wrong(`the filter for ${subnet} on ${link.name} is missing`);
  }
}

/** Deletes the ifb devices of attachments of the network that are not valid. */
export async function collectIfbs(request: GcRequest): Promise<void> {
  await collectLinks(request, ifbKind);
}

/**
 * Throws a {@link CniError} of code 50 where the kernel lacks what limits need. It is asked for things that it has to
 * refuse, by an error that tells whether it knows the kind: an ifb with a group's address, and a qdisc without options.
 */
export function requireKernel(qdisc: "tbf" | "htb"): void {
  using rtnl = new Rtnl();
  try {
    rtnl.links.add({ kind: ifbKind, name: "weft-probe", mac: "01:00:5e:00:00:00" });
    rtnl.links.delete("weft-probe");
  } catch (error) {
    if (isNotSupported(error)) throw withoutKernelSupport("ifb devices", "ifb", error);
  }
  try {
    rtnl.tc.addQdisc({ link: "lo", kind: qdisc });
  } catch (error) {
    if (isErrno(error, "ENOENT")) throw withoutKernelSupport(`qdisc ${qdisc}`, `sch_${qdisc}`, error);
  }
}
