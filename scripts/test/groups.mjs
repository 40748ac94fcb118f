// The groups of tests, in the order in which they run: what is quick and near the ground first.
import { join } from "node:path";
import { filesUnder, root } from "../lib/files.mjs";
import { which } from "../lib/process.mjs";

/**
 * @typedef {object} Group
 * @property {string} name
 * @property {string} about
 * @property {readonly string[]} folders whose test files are its own, unless a later group's folder is nearer
 * @property {number} seconds after which the group is ended, so that a hang costs its group and not the rest
 * @property {readonly string[]} [flags] for bun test
 * @property {boolean} [together] whether its files run in one process, which is for those that only compute
 * @property {boolean} [bare] whether it needs neither the executables nor a peer
 * @property {{ runner: string, needs: readonly string[], packages: string }} [guest] the kernel under which it runs
 */

/** @type {readonly Group[]} */
export const groups = [
  {
    name: "unit",
    about: "pure computing, beside the code",
    folders: ["src", "bench"],
    seconds: 300,
    flags: ["--parallel=2"],
    together: true,
    bare: true,
  },
  {
    name: "rules",
    about: "the import rules' own tests",
    folders: ["test/rules"],
    seconds: 60,
    together: true,
    bare: true,
  },
  { name: "ground", about: "set-up, start, executables", folders: ["test/ground"], seconds: 600 },
  { name: "kernel", about: "this machine's kernel, in namespaces", folders: ["test/kernel"], seconds: 1800 },
  {
    name: "conformance",
    about: "one suite for a real thing and its fake",
    folders: ["test/conformance"],
    seconds: 600,
  },
  {
    name: "interop",
    about: "real peers: reference plugins, nft, kubectl, dig",
    folders: ["test/interop"],
    seconds: 1500,
  },
  { name: "kernels", about: "the runners of other kernels", folders: ["test/kernels"], seconds: 600 },
  {
    name: "uml",
    about: "under User-Mode Linux: VLAN, IPVS, VRF and others",
    folders: ["test/kernels/uml"],
    seconds: 1200,
    guest: {
      runner: "test/kernels/uml-run",
      needs: ["linux.uml", "tcc", "modprobe"],
      packages: "user-mode-linux, tcc, kmod",
    },
  },
  {
    name: "vm",
    about: "under Debian's kernel in QEMU: nftables with those, WireGuard, SR-IOV",
    folders: ["test/kernels/vm"],
    seconds: 900,
    guest: {
      runner: "test/kernels/vm-run",
      needs: ["qemu-system-x86_64", "modprobe"],
      packages: "qemu-system-x86, kmod",
    },
  },
  {
    name: "examples",
    about: "the examples, and what the pages say",
    folders: ["examples", "test/documents"],
    seconds: 300,
  },
  { name: "e2e", about: "the whole of it, as a user starts it", folders: ["test/e2e"], seconds: 1200 },
];

const isTest = /\.test\.tsx?$/;

/** Every test file of the project. */
export const allTests = () =>
  filesUnder(["src", "bench", "test", "examples", "docs"], (path) => isTest.test(path));

/** The group whose folder is the nearest above a file. @param {string} file */
function groupOf(file) {
  const fitting = groups.flatMap((group) =>
    group.folders.filter((folder) => file.startsWith(`${folder}/`)).map((folder) => ({ group, folder })),
  );
  return fitting.sort((a, b) => b.folder.length - a.folder.length)[0]?.group;
}

/**
 * The test files of each group, of those that a user asked for.
 * @param {readonly string[]} wanted groups' names, files and folders; none for all
 */
export function select(wanted) {
  /** @type {Map<string, string[]>} */
  const chosen = new Map(groups.map(({ name }) => [name, []]));
  /** @type {string[]} */
  const homeless = [];
  for (const file of allTests()) {
    const group = groupOf(file);
    if (group === undefined) homeless.push(file);
    else if (
      wanted.length === 0 ||
      wanted.some((w) => w === group.name || file === w || file.startsWith(`${w}/`))
    ) {
      chosen.get(group.name)?.push(file);
    }
  }
  return { chosen, homeless };
}

/**
 * Why a group cannot run here, or undefined.
 * @param {Group} group
 */
export function absent({ guest }) {
  const missing = guest?.needs.filter((name) => which(name) === undefined) ?? [];
  return missing.length === 0
    ? undefined
    : `needs ${missing.join(", ")} (Debian packages ${guest?.packages})`;
}

/**
 * How a group's command is started.
 * @param {Group} group
 * @param {readonly string[]} command
 */
export function inGuest({ guest, seconds }, command) {
  return guest === undefined ? command : [join(root, guest.runner), "-t", `${seconds}`, "--", ...command];
}
