// The Debian packages that the tests need: the real peers that Weft is compared with and talks to.
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { run, which } from "./lib/process.mjs";
import { step } from "./lib/progress.mjs";

/**
 * Name, what for, and when it is not wanted. A package that cannot be had costs the tests that need it, which
 * say so; never the others.
 * @type {readonly { name: string, use: string, unless?: () => boolean }[]}
 */
const packages = [
  { name: "iproute2", use: "ip, bridge, tc: what the kernel says, in a second opinion" },
  { name: "nftables", use: "nft: reads what Weft wrote" },
  { name: "iptables", use: "the reference plugins' masquerade and port mappings" },
  { name: "conntrack", use: "connection tracking tables" },
  { name: "containernetworking-plugins", use: "the reference CNI plugins" },
  { name: "ipset", use: "set types in comparisons" },
  { name: "bind9-dnsutils", use: "dig" },
  { name: "dnsmasq-base", use: "a DNS server to compare with and to forward to" },
  { name: "dnsperf", use: "DNS load" },
  { name: "iperf3", use: "throughput" },
  { name: "iputils-ping", use: "ping" },
  { name: "socat", use: "TCP and UDP peers" },
  { name: "curl", use: "an HTTP client that is not ours" },
  { name: "tcpdump", use: "packets on the wire" },
  { name: "strace", use: "kills at every system call" },
  { name: "hyperfine", use: "a second clock for the benches" },
  { name: "kubernetes-client", use: "kubectl", unless: () => which("kubectl") !== undefined },
  { name: "kmod", use: "loads modules in the kernels of test/kernels" },
  { name: "tcc", use: "helps user-mode-linux on some processors", unless: () => process.arch !== "x64" },
  { name: "user-mode-linux", use: "another kernel: VLAN, IPVS, VRF", unless: () => process.arch !== "x64" },
];

const apt = {
  ...process.env,
  DEBIAN_FRONTEND: "noninteractive",
  LC_ALL: "C",
};
const options = [
  "-y",
  "-q",
  "--no-install-recommends",
  "-o",
  "DPkg::Lock::Timeout=600",
  "-o",
  "Dpkg::Use-Pty=0",
];

/** The packages that are wanted and not wholly installed. */
export function missingDebianPackages() {
  const names = packages.filter(({ unless }) => unless?.() !== true).map(({ name }) => name);
  const list = spawnSync("dpkg", ["--list", ...names], { encoding: "utf8", env: { ...apt, COLUMNS: "400" } });
  if (list.error !== undefined) return undefined;
  const installed = new Set([...list.stdout.matchAll(/^.i {2}([^\s:]+)/gm)].map(([, name]) => name));
  return names.filter((name) => !installed.has(name));
}

const policy = "/usr/sbin/policy-rc.d";
const policyText = "#!/bin/sh\n# Weft's test set-up: start no service that a package brings.\nexit 101\n";

/** Keeps packages from starting their services, which would take ports and write to the host's network. */
function holdServices() {
  const ours = existsSync(policy) && readFileSync(policy, "utf8") === policyText;
  if (existsSync(policy) && !ours) return () => {};
  writeFileSync(policy, policyText, { mode: 0o755 });
  return () => rmSync(policy, { force: true });
}

/**
 * Installs what is missing, as far as it can be had. Only for the holder of the lock.
 * @param {readonly string[]} missing
 */
export async function installDebianPackages(missing) {
  await step("Debian packages", async (note) => {
    const release = holdServices();
    try {
      note("finishing what an earlier run may have left");
      await run("dpkg", ["--configure", "-a", "--force-confold"], { env: apt });
      const install = (/** @type {readonly string[]} */ names) =>
        run("apt-get", ["install", ...options, ...names], { env: apt });
      note(`apt-get install ${missing.join(" ")}`);
      let { status } = await install(missing);
      if (status !== 0) {
        note("apt-get update");
        await run("apt-get", ["update", "-q"], { env: apt });
        await run("apt-get", ["install", "--fix-broken", ...options], { env: apt });
        note(`apt-get install ${missing.join(" ")}`);
        ({ status } = await install(missing));
      }
      if (status === 0) return;
      for (const name of missing) {
        note(`apt-get install ${name}`);
        const { status, output } = await install([name]);
        if (status === 0) continue;
        const reason =
          output.split("\n").findLast((line) => line.startsWith("E: ")) ?? `exit status ${status}`;
        process.stderr.write(
          `set-up: ${name} cannot be installed (${reason}); the tests that need it are skipped\n`,
        );
      }
    } finally {
      release();
    }
  });
}
