import { schema, type Type, u32, type Value } from "../netlink/codec.ts";
import { fixed, n64, struct } from "../netlink/types.ts";

/** The kernel counts bursts in ticks of 64 ns (PSCHED_SHIFT). */
const nsPerTick = 64;
const nsPerSecond = 1_000_000_000;
const ticksOf = (bytes: number, rate: number) =>
  Math.min(0xffffffff, Math.round((bytes * nsPerSecond) / rate / nsPerTick));
const bytesOf = (ticks: number, rate: number) => Math.round((ticks * nsPerTick * rate) / nsPerSecond);
const clamp = (rate: number) => Math.min(rate, 0xffffffff);

/** struct tc_ratespec as fields of the struct around it. With TC_LINKLAYER_ETHERNET no rate table is needed. */
const LINKLAYER_ETHERNET = 1;
const rateSpec = <P extends string>(prefix: P) =>
  ({
    [`${prefix}CellLog`]: fixed.u8,
    [`${prefix}LinkLayer`]: fixed.u8,
    [`${prefix}Overhead`]: fixed.u16,
    [`${prefix}CellAlign`]: fixed.u16,
    [`${prefix}Mpu`]: fixed.u16,
    [`${prefix}Rate`]: fixed.u32,
  }) as Record<
    `${P}${"CellLog" | "LinkLayer" | "Overhead" | "CellAlign" | "Mpu" | "Rate"}`,
    typeof fixed.u32
  >;

const tbfParms = struct("tc_tbf_qopt", {
  ...rateSpec("rate"),
  ...rateSpec("peak"),
  limit: fixed.u32,
  buffer: fixed.u32,
  mtu: fixed.u32,
});
const tbfAttributes = schema({
  parms: [1 /* TCA_TBF_PARMS */, tbfParms],
  rate64: [4 /* TCA_TBF_RATE64 */, n64],
  peak64: [5 /* TCA_TBF_PRATE64 */, n64],
  burst: [6 /* TCA_TBF_BURST */, u32],
  peakBurst: [7 /* TCA_TBF_PBURST */, u32],
});

/** Token bucket filter: all traffic of the link at one rate. */
export interface Tbf {
  /** Bytes a second. */
  rate: number;
  /** Bytes that may go at once; listed as near as the kernel keeps it. At least the link's MTU. */
  burst: number;
  /** Bytes that may wait. */
  limit: number;
  /** Bytes a second at which a burst goes; without limit where not given. */
  peakRate?: number;
  /** Size of the bucket of the peak rate in bytes; the link's MTU at least. */
  mtu?: number;
}

const tbf: Type<Tbf> = {
  nested: true,
  write: (writer, { rate, burst, limit, peakRate, mtu }) => {
    const peak =
      peakRate === undefined ? {} : { peakRate: clamp(peakRate), peakLinkLayer: LINKLAYER_ETHERNET };
    tbfAttributes.write(writer, {
      burst,
      ...(rate > 0xffffffff && { rate64: rate }),
      ...(peakRate !== undefined && peakRate > 0xffffffff && { peak64: peakRate }),
      ...(mtu !== undefined && { peakBurst: mtu }),
    });
    const at = writer.begin(1 /* TCA_TBF_PARMS */);
    tbfParms.put(writer, {
      ...peak,
      rateRate: clamp(rate),
      rateLinkLayer: LINKLAYER_ETHERNET,
      limit,
      buffer: ticksOf(burst, rate),
      mtu: mtu === undefined ? 0 : ticksOf(mtu, peakRate ?? rate),
    });
    writer.end(at);
  },
  read: (bytes) => {
    const { parms, rate64, peak64 } = tbfAttributes.read(bytes);
    const rate = rate64 ?? parms?.rateRate ?? 0;
    const peakRate = peak64 ?? parms?.peakRate ?? 0;
    return {
      rate,
      burst: bytesOf(parms?.buffer ?? 0, rate),
      limit: parms?.limit ?? 0,
      ...(peakRate > 0 && { peakRate, mtu: bytesOf(parms?.mtu ?? 0, peakRate) }),
    };
  },
};

const htbGlobal = struct("tc_htb_glob", {
  version: fixed.u32,
  rateToQuantum: fixed.u32,
  defaultClass: fixed.u32,
  debug: fixed.u32,
  directPackets: fixed.u32,
});
const htbParms = struct("tc_htb_opt", {
  ...rateSpec("rate"),
  ...rateSpec("ceil"),
  buffer: fixed.u32,
  cbuffer: fixed.u32,
  quantum: fixed.u32,
  level: fixed.u32,
  priority: fixed.u32,
});
const htbAttributes = schema({
  parms: [1 /* TCA_HTB_PARMS */, htbParms],
  global: [2 /* TCA_HTB_INIT */, htbGlobal],
  directQueueLength: [5 /* TCA_HTB_DIRECT_QLEN */, u32],
  rate64: [6 /* TCA_HTB_RATE64 */, n64],
  ceil64: [7 /* TCA_HTB_CEIL64 */, n64],
});

/** Hierarchical token bucket: classes with rates of their own. */
export interface Htb {
  /** The minor number of the class for what no filter sorted; 0 lets it pass unshaped. */
  defaultClass?: number;
  rateToQuantum?: number;
}

const htb: Type<Htb> = {
  nested: true,
  write: (writer, { defaultClass = 0, rateToQuantum = 10 }) =>
    htbAttributes.write(writer, {
      global: { version: 3, rateToQuantum, defaultClass, debug: 0, directPackets: 0 },
    }),
  read: (bytes) => {
    const { global } = htbAttributes.read(bytes);
    return { defaultClass: global?.defaultClass ?? 0, rateToQuantum: global?.rateToQuantum ?? 0 };
  },
};

/** A class of an HTB qdisc. */
export interface HtbClass {
  /** Bytes a second that it has for certain. */
  rate: number;
  /** Bytes a second that it may borrow up to; `rate` where not given. */
  ceil?: number;
  /** Bytes at once at `rate`; a millisecond's worth, 1600 at least, where not given. */
  burst?: number;
  /** Bytes at once at `ceil`. */
  ceilBurst?: number;
  /** Bytes that it sends before the next class has its turn. */
  quantum?: number;
  /** 0 to 7; the lower is served first. */
  priority?: number;
}

const defaultBurst = (rate: number) => Math.max(1600, Math.ceil(rate / 1000));

const htbClass: Type<HtbClass> = {
  nested: true,
  write: (writer, { rate, ceil = rate, burst, ceilBurst, quantum, priority }) => {
    htbAttributes.write(writer, {
      ...(rate > 0xffffffff && { rate64: rate }),
      ...(ceil > 0xffffffff && { ceil64: ceil }),
    });
    const at = writer.begin(1 /* TCA_HTB_PARMS */);
    htbParms.put(writer, {
      rateRate: clamp(rate),
      rateLinkLayer: LINKLAYER_ETHERNET,
      ceilRate: clamp(ceil),
      ceilLinkLayer: LINKLAYER_ETHERNET,
      buffer: ticksOf(burst ?? defaultBurst(rate), rate),
      cbuffer: ticksOf(ceilBurst ?? defaultBurst(ceil), ceil),
      quantum,
      priority,
    });
    writer.end(at);
  },
  read: (bytes) => {
    const { parms, rate64, ceil64 } = htbAttributes.read(bytes);
    const rate = rate64 ?? parms?.rateRate ?? 0;
    const ceil = ceil64 ?? parms?.ceilRate ?? 0;
    return {
      rate,
      ceil,
      burst: bytesOf(parms?.buffer ?? 0, rate),
      ceilBurst: bytesOf(parms?.cbuffer ?? 0, ceil),
      quantum: parms?.quantum ?? 0,
      priority: parms?.priority ?? 0,
    };
  },
};

/** Fair queueing with controlled delay. Times are in microseconds. */
const fqCodel = schema({
  target: [1 /* TCA_FQ_CODEL_TARGET */, u32],
  limit: [2 /* TCA_FQ_CODEL_LIMIT */, u32],
  interval: [3 /* TCA_FQ_CODEL_INTERVAL */, u32],
  ecn: [4 /* TCA_FQ_CODEL_ECN */, u32],
  flows: [5 /* TCA_FQ_CODEL_FLOWS */, u32],
  quantum: [6 /* TCA_FQ_CODEL_QUANTUM */, u32],
});

const fifoStruct = struct("tc_fifo_qopt", { limit: fixed.u32 });

/** The options of each kind of qdisc, which stand in a qdisc under the kind's name. */
export interface QdiscKinds {
  tbf: Tbf;
  htb: Htb;
  fq_codel: Value<typeof fqCodel>;
  /** The limit is in packets. */
  pfifo: { limit: number };
  /** The limit is in bytes. */
  bfifo: { limit: number };
}

/** Kinds with options; others, such as ingress, clsact and noqueue, have none. */
export const qdiscKinds: Readonly<Record<string, Type<unknown>>> = {
  tbf,
  htb,
  fq_codel: fqCodel,
  pfifo: fifoStruct,
  bfifo: fifoStruct,
} satisfies { [K in keyof QdiscKinds]: Type<QdiscKinds[K]> };

/** The options of a class, under the name of its qdisc's kind. */
export interface ClassKinds {
  htb: HtbClass;
}

export const classKinds: Readonly<Record<string, Type<unknown>>> = {
  htb: htbClass,
} satisfies { [K in keyof ClassKinds]: Type<ClassKinds[K]> };
