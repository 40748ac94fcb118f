/** `weft cni validate` on the command line: what it prints, and its exit status. */
import { afterAll, expect, test } from "bun:test";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { needs, testWith } from "../lib/needs.ts";
import { ownPlugins, referencePlugins } from "./cni-fixture.ts";

const weft = join(ownPlugins, "../weft");
const folder = mkdtempSync(join(tmpdir(), "weft-t-validate-"));
afterAll(() => rmSync(folder, { recursive: true }));

let count = 0;

/** A folder with these files. */
function files(content: Readonly<Record<string, unknown>>): string {
  const dir = join(folder, String(count++));
  for (const [name, value] of Object.entries(content)) {
    mkdirSync(join(dir, name, ".."), { recursive: true });
    writeFileSync(join(dir, name), typeof value === "string" ? value : JSON.stringify(value));
  }
  return dir;
}

function validate(dir: string, args: readonly string[], path = ownPlugins) {
  const { exitCode, stdout, stderr } = Bun.spawnSync(
    [weft, "cni", "validate", ...args, "--conf-dir", dir, "--path", path],
    { cwd: dir, env: { PATH: process.env.PATH ?? "" } },
  );
  return { status: exitCode, stdout: stdout.toString(), stderr: stderr.toString() };
}

const bridge = { type: "bridge", isGateway: true, ipMasq: true };
const hostLocal = { type: "host-local", ranges: [[{ subnet: "10.1.0.0/24" }]] };
const good = { cniVersion: "1.1.0", name: "good", plugins: [{ ...bridge, ipam: hostLocal }] };
const bad = { cniVersion: "1.1.0", name: "bad", plugins: [{ ...bridge, mtu: 5, isGatway: true, ipam: {} }] };

test("a configuration is explained in sentences", () => {
  const dir = files({ "10-good.conflist": good });
  const { status, stdout, stderr } = validate(dir, ["good"]);
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  expect(stdout).toBe(`good  cniVersion 1.1.0  ${dir}/10-good.conflist
  1. bridge
     - connects the container by a veth pair to the host's bridge "cni0", which is made where it is missing
     - puts 10.1.0.1/24 on "cni0" and turns forwarding on
     - masquerades what the container sends beyond its own network (nftables table inet weft-cni)
     ipam: host-local
       - gives one free address of 10.1.0.0/24
       - remembers who has which address in /var/lib/cni/networks/good

0 errors, 0 warnings
`);
  expect(readdirSync(dir)).toEqual(["10-good.conflist"]);
});

test("errors have status 1, warnings alone 0; the whole folder is looked at where nothing is named", () => {
  const dir = files({
    "10-good.conflist": good,
    "20-bad.conflist": bad,
    "30-warned.conf": { cniVersion: "1.0.0", name: "warned", ...bridge, isGatway: true, ipam: hostLocal },
    "40-broken.conflist": "{",
  });
  expect(validate(dir, ["warned"])).toMatchObject({
    status: 0,
    stdout: expect.stringContaining("0 errors, 2 warnings"),
  });
  const all = validate(dir, []);
  expect(all.status).toBe(1);
  expect(all.stdout).toContain("error: plugins[0].mtu: 5 is not a whole number from 68 to 65535\n");
  expect(all.stdout).toContain('warning: plugins[0].isGatway: unknown key (did you mean "isGateway"?)');
  expect(all.stdout).toContain("40-broken.conflist: network configuration: not JSON");
  expect(all.stdout).toContain('network "good"');
  expect(all.stdout.trim()).toEndWith("2 errors, 6 warnings");
  expect(validate(dir, ["good", "nowhere"])).toMatchObject({
    status: 1,
    stderr: expect.stringContaining('no network "nowhere" in '),
  });
});

test("a file is named by its path; plugins beside it belong to it", () => {
  const dir = files({
    "10-good.conflist": good,
    "good/20-portmap.conf": { type: "portmap" },
  });
  for (const file of ["10-good.conflist", "./10-good.conflist", join(dir, "10-good.conflist")]) {
    const { status, stdout } = validate(dir, [file]);
    expect(status).toBe(0);
    expect(stdout).toContain(`2. portmap (configured in ${dir}/good/20-portmap.conf)`);
    expect(stdout).toContain("warning: plugins[1].capabilities: portMappings is not declared");
  }
  expect(validate(dir, ["good"])).toMatchObject({ status: 0 });
  for (const [wanted, why] of [
    ["./nowhere.conflist", `${dir}/nowhere.conflist: is not there`],
    ["./good", `${dir}/good: is a folder. Write weft cni validate --conf-dir ./good`],
  ] as const) {
    expect(validate(dir, [wanted])).toMatchObject({ status: 1, stdout: expect.stringContaining(why) });
  }
});

test("programs get JSON", () => {
  const dir = files({ "20-bad.conflist": bad, "40-broken.conflist": "{" });
  const { status, stdout } = validate(dir, ["--json"]);
  expect(status).toBe(1);
  expect(JSON.parse(stdout)).toMatchObject({
    ok: false,
    networks: [
      {
        name: "bad",
        file: join(dir, "20-bad.conflist"),
        cniVersion: "1.1.0",
        plugins: [{ type: "bridge", does: expect.any(Array) }],
        findings: [
          { level: "error", field: "plugins[0].mtu", message: "5 is not a whole number from 68 to 65535" },
          { level: "warning" },
          { level: "warning" },
          { level: "warning" },
        ],
      },
      { file: join(dir, "40-broken.conflist"), error: expect.stringContaining("not JSON") },
    ],
  });
  expect(JSON.parse(validate(files({ "a.conflist": good }), ["good", "--json"]).stdout)).toMatchObject({
    ok: true,
  });
});

const reference = testWith(needs.file(join(referencePlugins, "bridge"), "containernetworking-plugins"));
reference("other people's executables are asked which versions they speak", () => {
  const dir = files({
    "10-good.conflist": good,
    "20-old.conflist": { ...good, name: "old", cniVersion: "1.0.0" },
  });
  const newer = validate(dir, ["good"], referencePlugins);
  expect(newer.status).toBe(1);
  expect(newer.stdout).toContain(
    `error: cniVersion: ${referencePlugins}/bridge does not speak 1.1.0. It speaks `,
  );
  const { status, stdout } = validate(dir, ["old"], referencePlugins);
  expect(status).toBe(0);
  expect(stdout).toContain(`1. bridge (${referencePlugins}/bridge)`);
  expect(stdout).toContain("masquerades what the container sends beyond its own network\n");
});

test("an executable that is none is an error that names it", () => {
  const dir = files({
    "10-a.conflist": { ...good, plugins: [{ type: "odd" }] },
    "bin/odd": "#!/bin/sh\necho hello\n",
  });
  chmodSync(join(dir, "bin/odd"), 0o755);
  const { status, stdout } = validate(dir, ["good"], join(dir, "bin"));
  expect(status).toBe(1);
  expect(stdout).toContain('error: plugins[0].type: plugin "odd" failed (VERSION): printed "hello"');
  expect(stdout).toContain("- what it does is not known here");
});
