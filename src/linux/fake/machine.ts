import { errno } from "../errno.ts";
import { KernelError } from "../errors.ts";
import type { Kernel } from "../kernel.ts";
import { type NetnsRef, netnsPath } from "../netns.ts";
import type { LinkKind } from "../route/kinds.ts";
import { Rtnl } from "../route/rtnl.ts";
import type { FakeConntrack } from "./conntrack.ts";
import { FakeRtnlDriver } from "./driver.ts";
import { addLoopback } from "./links.ts";
import { FakeNamespace } from "./namespace.ts";
import type { FakeNftables } from "./nftables.ts";
import { FakeSysctl } from "./sysctl.ts";

/** A `Kernel`, with what tests do to it besides: `nft.applied`, `conntrack.add`. */
export interface FakeKernel extends Kernel {
  readonly nft: FakeNftables;
  readonly conntrack: FakeConntrack;
}

export interface FakeMachineOptions {
  /** Kinds of links besides the usual ones. */
  kinds?: Readonly<Record<string, LinkKind>>;
}

/**
 * A machine for unit tests: network namespaces with links, addresses, routes, rules, neighbours, qdiscs, sysctls, nf_tables
 * and tracked connections, without a kernel. It does and refuses what the kernel does and refuses, as far as the conformance suite
 * (test/conformance) asks both; it forwards no packets.
 *
 *     const machine = new FakeMachine();
 *     machine.createNetns("pod");
 *     const { rtnl } = machine.kernel();
 *     rtnl.links.add({ kind: "veth", name: "veth0", peer: { name: "eth0", netns: { name: "pod" } } });
 *     machine.kernel({ name: "pod" }).rtnl.links.get("eth0");
 */
export class FakeMachine {
  readonly #namespaces = new Map<string, FakeNamespace>();
  readonly #host: FakeNamespace;
  readonly #kinds: Readonly<Record<string, LinkKind>>;
  #macs = 0;

  constructor(options: FakeMachineOptions = {}) {
    this.#kinds = options.kinds ?? {};
    this.#host = this.#newNamespace();
  }

  #newNamespace(): FakeNamespace {
    const namespace = new FakeNamespace({
      namespace: (path) => this.#namespace(path),
      nextMac: () => this.#nextMac(),
    });
    addLoopback(namespace);
    return namespace;
  }

  #nextMac(): string {
    this.#macs += 1;
    const tail = this.#macs.toString(16).padStart(8, "0");
    return `0a:fa:${tail.replace(/(..)(?=.)/g, "$1:")}`;
  }

  #namespace(path: string): FakeNamespace {
    const found = this.#namespaces.get(path);
    if (found === undefined) throw new KernelError("open", path, errno.ENOENT);
    return found;
  }

  /** Makes a namespace under a name. Throws EEXIST. */
  createNetns(name: string): void {
    const path = netnsPath({ name });
    if (this.#namespaces.has(path)) throw new KernelError("create network namespace", name, errno.EEXIST);
    this.#namespaces.set(path, this.#newNamespace());
  }

  /** Gives a namespace another path besides, as a bind mount or a process in it would. */
  bindNetns(name: string, ref: NetnsRef): void {
    this.#namespaces.set(netnsPath(ref), this.#namespace(netnsPath({ name })));
  }

  /** Deletes a namespace with the links in it. Nothing to do is fine. */
  deleteNetns(name: string): void {
    const path = netnsPath({ name });
    const namespace = this.#namespaces.get(path);
    if (namespace === undefined) return;
    for (const [other, held] of this.#namespaces) if (held === namespace) this.#namespaces.delete(other);
    const rtnl = new Rtnl({}, new FakeRtnlDriver(namespace, this.#kinds));
    for (const link of namespace.links.map(({ own }) => own)) {
      if (!link.loopback && namespace.find(link.index) !== undefined) rtnl.links.delete(link.index);
    }
  }

  /** The kernel in a namespace; the host's where none is given. All kernels of one namespace share its state. */
  kernel(netns?: NetnsRef): FakeKernel {
    const namespace = netns === undefined ? this.#host : this.#namespace(netnsPath(netns));
    const rtnl = new Rtnl({}, new FakeRtnlDriver(namespace, this.#kinds));
    const { nft, conntrack } = namespace;
    const close = () => rtnl.close();
    return { rtnl, nft, conntrack, sysctl: new FakeSysctl(namespace), close, [Symbol.dispose]: close };
  }
}
