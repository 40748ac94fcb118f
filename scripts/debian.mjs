// The Debian packages that the tests need: the real peers that Weft is compared with and talks to.
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { cache, readIfThere, writeAtomic } from "./lib/files.mjs";
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
  { name: "podman", use: "a container runtime that calls the plugins through libcni" },
  { name: "crun", use: "what podman starts containers with" },
  { name: "busybox-static", use: "what runs in podman's containers" },
  { name: "ipset", use: "set types in comparisons" },
  { name: "bind9-dnsutils", use: "dig" },
  { name: "dnsmasq-base", use: "a DNS server to compare with and to forward to; a DHCP server" },
  { name: "kea-dhcp4-server", use: "a DHCP server with leases of seconds" },
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
  { name: "xz-utils", use: "unpacks the kernel of test/kernels/vm-run" },
  { name: "tcc", use: "helps user-mode-linux on some processors", unless: () => process.arch !== "x64" },
  { name: "user-mode-linux", use: "another kernel: VLAN, IPVS, VRF", unless: () => process.arch !== "x64" },
  {
    name: "qemu-system-x86",
    use: "another kernel: nftables with VLAN, WireGuard",
    unless: () => process.arch !== "x64",
  },
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

/** What the last run left: whether it ended, and which packages it could not have. */
const journal = join(cache, "debian.json");
const day = 24 * 3600 * 1000;

/** @returns {{ ended: boolean, refused: string[], time: number }} */
function lastRun() {
  try {
    return JSON.parse(readIfThere(journal) ?? "");
  } catch {
    return { ended: true, refused: [], time: 0 };
  }
}

/** @param {{ ended: boolean, refused: string[] }} run */
const record = (run) => writeAtomic(journal, JSON.stringify({ ...run, time: Date.now() }));

/**
 * The packages that are wanted and not wholly installed; those that could not be had are tried again the next day.
 * @returns {{ missing: string[], unfinished: boolean }} unfinished: a run was killed half-way
 */
export function debianState() {
  const { ended, refused, time } = lastRun();
  const excused = Date.now() - time < day ? refused : [];
  const names = packages.filter(({ unless }) => unless?.() !== true).map(({ name }) => name);
  const list = spawnSync("dpkg", ["--list", ...names], { encoding: "utf8", env: { ...apt, COLUMNS: "400" } });
  // Not Debian, or nothing like it: the tests find out by themselves what is there.
  if (list.error !== undefined) return { missing: [], unfinished: false };
  const installed = new Set([...list.stdout.matchAll(/^.i {2}([^\s:]+)/gm)].map(([, name]) => name));
  const missing = names.filter((name) => !installed.has(name) && !excused.includes(name));
  return { missing, unfinished: !ended };
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
 * Installs packages in one go; where that fails, with fresh lists; where that fails too, one by one.
 * @param {readonly string[]} missing
 * @param {(text: string) => void} tell
 * @returns {Promise<string[]>} those that do not exist
 */
async function install(missing, tell) {
  const aptInstall = (/** @type {readonly string[]} */ names) => {
    tell(`apt-get install ${names.join(" ")}`);
    return run("apt-get", ["install", ...options, ...names], { env: apt });
  };
  if ((await aptInstall(missing)).status === 0) return [];
  tell("apt-get update");
  await run("apt-get", ["update", "-q"], { env: apt });
  await run("apt-get", ["install", "--fix-broken", ...options], { env: apt });
  if ((await aptInstall(missing)).status === 0) return [];
  const refused = [];
  for (const name of missing) {
    const { status, output } = await aptInstall([name]);
    if (status === 0) continue;
    // Only what does not exist stays away for a day; a network that is down is tried again at once.
    if (/Unable to locate package|has no installation candidate/.test(output)) refused.push(name);
    const reason = output.split("\n").findLast((line) => line.startsWith("E: ")) ?? `exit status ${status}`;
    process.stderr.write(
      `\nset-up: ${name} cannot be installed (${reason}); the tests that need it are skipped\n`,
    );
  }
  return refused;
}

/**
 * Installs what is missing, as far as it can be had. Only for the holder of the lock.
 * @param {readonly string[]} missing
 */
export async function installDebianPackages(missing) {
  await step("Debian packages", async (tell) => {
    const release = holdServices();
    try {
      record({ ended: false, refused: [] });
      tell("finishing what an earlier run may have left");
      await run("dpkg", ["--configure", "-a", "--force-confold"], { env: apt });
      const refused = missing.length === 0 ? [] : await install(missing, tell);
      record({ ended: true, refused });
    } finally {
      release();
    }
  });
}
