import type { Fields } from "../../cni/fields.ts";
import type { PluginRequest } from "../../cni/plugin.ts";
import { InvalidInput } from "../../lib/errors.ts";
import { anyOf } from "../../lib/lists.ts";
import { Prefix } from "../../lib/prefix.ts";

/** The keys of a bandwidth configuration; `runtimeConfig.bandwidth` has the same. */
export const bandwidthKeys = [
  "ingressRate",
  "ingressBurst",
  "egressRate",
  "egressBurst",
  "shapedSubnets",
  "unshapedSubnets",
] as const;

/** One direction's limit. */
export interface Shape {
  /** Bytes a second. */
  rate: number;
  /** Bytes that may go at once. */
  burst: number;
}

/** What the bandwidth plugin is asked to do; directions as the container sees them. */
export interface BandwidthConfig {
  ingress?: Shape;
  egress?: Shape;
  /** The peers whose traffic the limits are for, or are not for. Empty: the limits are for all traffic. */
  subnets: readonly Prefix[];
  /** The limits are for `subnets`; else for everybody else. */
  isShaped: boolean;
}

/** uint64, as the reference plugin has it. */
const largest = 2 ** 64;
/** Bytes; the kernel counts them in 32 bits. */
const burstEnd = 0xffffffff;

/**
 * Reads a bandwidth configuration. What the configuration itself says wins over `runtimeConfig.bandwidth`, as a whole.
 * Throws {@link InvalidInput}.
 */
export function parseBandwidthConfig({ config: { fields } }: PluginRequest): BandwidthConfig {
  const hasOwn = anyOf(bandwidthKeys, (key) => fields.get(key) !== undefined);
  const source = hasOwn ? fields : fields.object("runtimeConfig")?.object("bandwidth");
  if (source === undefined) return { subnets: [], isShaped: false };
  const ingress = parseShape(source, "ingressRate", "ingressBurst");
  const egress = parseShape(source, "egressRate", "egressBurst");
  const shaped = parseSubnets(source, "shapedSubnets");
  const unshaped = parseSubnets(source, "unshapedSubnets");
  if (shaped.length > 0 && unshaped.length > 0) {
    throw new InvalidInput(
      source.at("unshapedSubnets"),
      undefined,
      "unshapedSubnets and shapedSubnets cannot be both specified",
      { remedy: "Discard one of them" },
    );
  }
  return {
    ...(ingress === undefined ? {} : { ingress }),
    ...(egress === undefined ? {} : { egress }),
    subnets: shaped.length > 0 ? shaped : unshaped,
    isShaped: shaped.length > 0,
  };
}

/** Undefined where both are absent or 0. */
function parseShape(source: Fields, rateKey: string, burstKey: string): Shape | undefined {
  const rate = source.integer(rateKey, 0, largest) ?? 0;
  const burst = source.integer(burstKey, 0, largest) ?? 0;
  if (rate === 0 && burst === 0) return undefined;
  if (burst === 0) throw incomplete(source, burstKey, "if rate is set, burst must also be set");
  if (rate === 0) throw incomplete(source, rateKey, "if burst is set, rate must also be set");
  if (Math.floor(burst / 8) >= burstEnd) {
    throw new InvalidInput(source.at(burstKey), burst, "is too much: burst cannot be more than 4GB", {
      remedy: `Give at most ${burstEnd * 8 - 1} bits`,
    });
  }
  for (const [key, bits] of [
    [rateKey, rate],
    [burstKey, burst],
  ] as const) {
    if (bits >= 8) continue;
    throw new InvalidInput(source.at(key), bits, "is less than a byte", {
      remedy: "It is in bits: give 8 at least",
    });
  }
  return { rate: Math.floor(rate / 8), burst: Math.floor(burst / 8) };
}

function incomplete(source: Fields, key: string, problem: string): InvalidInput {
  const remedy = "Give both, or neither of them for no limit";
  return new InvalidInput(source.at(key), source.get(key), problem, { remedy });
}

function parseSubnets(source: Fields, key: string): Prefix[] {
  return (source.strings(key) ?? []).map((text, i) => Prefix.parse(text, `${source.at(key)}[${i}]`).masked());
}

/** How long bytes may wait. Microseconds; the reference's. */
const latency = 25_000;
const microseconds = 1_000_000;
/** The kernel counts time in ticks of 64 ns (PSCHED_SHIFT). */
const ticksPerMicrosecond = 15.625;
/** The largest that a field of 32 bits holds. */
const full = 0xffffffff;

/** A limit as the token bucket filter has it. */
export interface Bucket {
  /** Bytes a second. */
  rate: number;
  /** How long the burst lasts at that rate, in ticks of 64 ns. */
  ticks: number;
  /** Bytes that may wait. */
  limit: number;
  /** Bytes that really go at once, after all rounding. */
  bytes: number;
}

/**
 * The numbers that the kernel gets, which are those of the reference plugin: whole microseconds. It counts on from 0
 * where they do not fit into 32 bits, and refuses a burst that lasts less than one; here they end at the largest, and
 * short ones are exact.
 */
export function bucketOf({ rate, burst }: Shape): Bucket {
  const exact = (burst * microseconds) / rate;
  const time = exact < 100 ? exact : Math.floor(exact);
  const ticks = Math.min(full, Math.max(1, Math.floor(time * ticksPerMicrosecond)));
  const limit = Math.min(full, Math.floor((rate * latency) / microseconds) + burst);
  return { rate, ticks, limit, bytes: bytesOf(ticks, rate) };
}

/** How many bytes last that many ticks. */
export function bytesOf(ticks: number, rate: number): number {
  return (ticks * rate) / ticksPerMicrosecond / microseconds;
}

/** True where the burst lasts longer than the kernel can say (274 s). */
export function isCutOff({ ticks }: Bucket): boolean {
  return ticks === full;
}
