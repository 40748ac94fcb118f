import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, unlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FakeClock } from "../lib/clock.ts";
import { explain } from "../lib/errors.ts";
import { inClusterConfig, loadClientConfig } from "./config.ts";

const testdata = join(import.meta.dir, "testdata");
const pem = (name: string) => readFileSync(join(testdata, name), "utf8");
const base64 = (text: string) => Buffer.from(text).toString("base64");

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "weft-kubeconfig-"));
});
afterAll(() => rmSync(directory, { recursive: true }));

let count = 0;
function file(content: string | object, name = `file-${++count}`): string {
  const path = join(directory, name);
  writeFileSync(path, typeof content === "string" ? content : JSON.stringify(content));
  return path;
}

interface Parts {
  cluster?: object;
  user?: object;
  context?: object;
}

/** A kubeconfig with one context "lab" of cluster "c" and user "u". */
function kubeconfig({ cluster = {}, user = {}, context = {} }: Parts, name?: string): string {
  return file(
    {
      apiVersion: "v1",
      kind: "Config",
      "current-context": "lab",
      contexts: [{ name: "lab", context: { cluster: "c", user: "u", ...context } }],
      clusters: [{ name: "c", cluster: { server: "https://127.0.0.1:6443/", ...cluster } }],
      users: [{ name: "u", user }],
    },
    name,
  );
}

const load = (path: string, clock = new FakeClock()) =>
  loadClientConfig({ kubeconfig: path, clock, env: { PATH: process.env.PATH } });

describe("a kubeconfig", () => {
  test("in YAML, with files beside it", async () => {
    file(pem("ca.crt"), "ca.crt");
    file(pem("client.crt"), "client.crt");
    file(pem("client.key"), "client.key");
    const path = file(`apiVersion: v1
kind: Config
current-context: lab
contexts:
- name: lab
  context: { cluster: c, user: u, namespace: blue }
clusters:
- name: c
  cluster:
    server: https://[fd00::1]:6443
    certificate-authority: ca.crt
    tls-server-name: kubernetes.default.svc
users:
- name: u
  user: { client-certificate: client.crt, client-key: client.key }
`);
    const config = await load(path);
    expect(config).toMatchObject({
      server: "https://[fd00::1]:6443",
      namespace: "blue",
      ca: pem("ca.crt"),
      serverName: "kubernetes.default.svc",
    });
    expect(await config.credentials?.current()).toEqual({ cert: pem("client.crt"), key: pem("client.key") });
  });

  test("with certificates inline, which come before files", async () => {
    const config = await load(
      kubeconfig({
        cluster: { "certificate-authority-data": base64(pem("ca.crt")), "certificate-authority": "/nowhere" },
        user: {
          "client-certificate-data": base64(pem("client.crt")),
          "client-key-data": base64(pem("client.key")),
          token: "t0ken",
        },
      }),
    );
    expect(config.ca).toBe(pem("ca.crt"));
    expect(config.server).toBe("https://127.0.0.1:6443");
    const shown = { cert: pem("client.crt"), key: pem("client.key"), authorization: "Bearer t0ken" };
    expect(await config.credentials?.current()).toEqual(shown);
  });

  const plain: [user: object, config: object, authorization: string | undefined][] = [
    [{ token: "abc" }, {}, "Bearer abc"],
    [{ username: "joe", password: "pä:ss" }, {}, `Basic ${base64("joe:pä:ss")}`],
    [{ token: "abc", as: "eve", "as-groups": ["dev"] }, { "Impersonate-User": "eve" }, "Bearer abc"],
    [{}, {}, undefined],
  ];
  test.each(plain)("with the user %j", async (user, headers, authorization) => {
    const config = await load(kubeconfig({ user }));
    expect(await config.credentials?.current()).toEqual(
      authorization === undefined ? undefined : { authorization },
    );
    expect(config.headers ?? {}).toMatchObject(headers);
  });

  test("that skips verification leaves the CA out", async () => {
    const cluster = { "insecure-skip-tls-verify": true, "certificate-authority-data": base64(pem("ca.crt")) };
    const config = await load(kubeconfig({ cluster }));
    expect(config.insecure).toBe(true);
    expect(config.ca).toBeUndefined();
  });

  test("whose token file is renewed", async () => {
    const clock = new FakeClock();
    const path = file("first\n");
    const { credentials } = await load(kubeconfig({ user: { tokenFile: path, token: "stale" } }), clock);
    const token = async () => (await credentials?.current())?.authorization;
    expect(await token()).toBe("Bearer first");
    writeFileSync(path, "second");
    expect(await token()).toBe("Bearer first");
    clock.advance(60_000);
    expect(await token()).toBe("Bearer second");
    writeFileSync(path, "third");
    credentials?.refresh?.();
    expect(await token()).toBe("Bearer third");
    unlinkSync(path);
    clock.advance(60_000);
    expect(await token()).toBe("Bearer third");
  });
});

describe("several files", () => {
  test("in KUBECONFIG merge, the first of each name counts, and missing ones are passed over", async () => {
    const one = file({ clusters: [{ name: "c", cluster: { server: "https://one" } }] });
    const two = kubeconfig({ cluster: { server: "https://two" }, user: { token: "two" } });
    const env = { KUBECONFIG: `${join(directory, "missing")}:${one}:${two}` };
    const config = await loadClientConfig({ env });
    expect(config.server).toBe("https://one");
    expect(await config.credentials?.current()).toEqual({ authorization: "Bearer two" });
  });

  test("paths are relative to the file that they stand in", async () => {
    mkdirSync(join(directory, "sub"));
    file("sub-token", "sub/token");
    const users = file({ users: [{ name: "u", user: { tokenFile: "token" } }] }, "sub/users");
    const rest = kubeconfig({ user: { token: "no" } });
    const config = await loadClientConfig({ env: { KUBECONFIG: `${users}:${rest}` } });
    expect(await config.credentials?.current()).toEqual({ authorization: "Bearer sub-token" });
  });

  test("the home's kubeconfig is found, and else the pod's service account", async () => {
    mkdirSync(join(directory, ".kube"));
    kubeconfig({ cluster: { server: "https://home" } }, ".kube/config");
    expect((await loadClientConfig({ env: { HOME: directory } })).server).toBe("https://home");
    mkdirSync(join(directory, "sa"));
    file("t", "sa/token");
    file(pem("ca.crt"), "sa/ca.crt");
    file("weft-system", "sa/namespace");
    const config = await loadClientConfig({
      env: { HOME: "/nowhere", KUBERNETES_SERVICE_HOST: "fd00::1", KUBERNETES_SERVICE_PORT: "443" },
      serviceAccountDirectory: join(directory, "sa"),
    });
    expect(config).toMatchObject({
      server: "https://[fd00::1]:443",
      namespace: "weft-system",
      ca: pem("ca.crt"),
    });
    expect(await config.credentials?.current()).toEqual({ authorization: "Bearer t" });
  });
});

describe("what is refused, each with file, field and remedy", () => {
  const cases: [what: string, content: () => string, message: string][] = [
    ["no YAML", () => file("a: [", "bad.yaml"), "is not YAML"],
    ["a misspelt key", () => file({ clustres: [] }), '"clustres" is not a key of a config. Write "clusters"'],
    ["a user's misspelt key", () => kubeconfig({ user: { tokn: "t" } }), 'Write "token" in its place'],
    ["another kind", () => file({ kind: "Pod" }), 'is not "Config"'],
    ["no list", () => file({ clusters: {} }), "clusters in"],
    ["no context", () => file({}), "names no context"],
    ["an unknown cluster", () => kubeconfig({ context: { cluster: "d" } }), "Choose one of: c"],
    ["an unknown user", () => kubeconfig({ context: { user: "uu" } }), 'did you mean "u"?'],
    [
      "no server",
      () => kubeconfig({ cluster: { server: "127.0.0.1:6443" } }),
      "Write it like https://10.0.0.1:6443",
    ],
    ["a key alone", () => kubeconfig({ user: { "client-key": "k" } }), "client-certificate in"],
    [
      "a bad CA",
      () => kubeconfig({ cluster: { "certificate-authority-data": "eHg=" } }),
      "is not PEM in base64",
    ],
    ["a missing CA", () => kubeconfig({ cluster: { "certificate-authority": "nope" } }), "cannot be read"],
    ["auth-provider", () => kubeconfig({ user: { "auth-provider": { name: "gcp" } } }), "Use an exec plugin"],
    [
      "old exec",
      () => kubeconfig({ user: { exec: { apiVersion: "v1alpha1", command: "x" } } }),
      "is not supported",
    ],
    ["a missing file", () => join(directory, "nowhere"), "Check that the file exists"],
  ];
  test.each(cases)("%s", async (_, content, message) => {
    const error = await load(content()).catch((e) => e);
    expect(explain(error)).toContain(message);
    expect(explain(error)).toContain(directory);
  });

  test("nothing at all, and a pod without its token", async () => {
    expect(loadClientConfig({ env: { HOME: directory, KUBECONFIG: "/nowhere" } })).rejects.toThrow(
      "No kubeconfig",
    );
    expect(inClusterConfig({ env: {} })).rejects.toThrow("KUBERNETES_SERVICE_HOST");
    const env = { KUBERNETES_SERVICE_HOST: "10.0.0.1" };
    expect(inClusterConfig({ env, serviceAccountDirectory: "/nowhere" })).rejects.toThrow("/nowhere/ca.crt");
  });
});

describe("exec plugins", () => {
  const v1 = "client.authentication.k8s.io/v1";
  /** A plugin that counts its runs in a file and keeps the environment that it got. */
  function plugin(script: string): { command: string; runs: () => number; info: () => unknown } {
    const path = file(
      `#!/bin/sh\necho run >> "$0.runs"\nprintf %s "$KUBERNETES_EXEC_INFO" > "$0.info"\n${script}\n`,
      `plugin-${++count}`,
    );
    chmodSync(path, 0o755);
    return {
      command: path,
      runs: () => readFileSync(`${path}.runs`, "utf8").split("\n").length - 1,
      info: () => JSON.parse(readFileSync(`${path}.info`, "utf8")),
    };
  }
  const credential = (status: object, apiVersion = v1) =>
    `cat <<'END'\n${JSON.stringify({ apiVersion, kind: "ExecCredential", status })}\nEND`;
  const withExec = (exec: object, clock?: FakeClock) =>
    load(kubeconfig({ user: { exec: { apiVersion: v1, interactiveMode: "Never", ...exec } } }), clock);

  test("run once until the credential expires, or is refused", async () => {
    const clock = new FakeClock();
    const expirationTimestamp = new Date(clock.now() + 1000).toISOString();
    const { command, runs, info } = plugin(credential({ token: "abc", expirationTimestamp }));
    const { credentials } = await withExec({ command, provideClusterInfo: true }, clock);
    const current = () => credentials?.current();
    const shown = { authorization: "Bearer abc" };
    expect(await Promise.all([current(), current()])).toEqual([shown, shown]);
    expect(runs()).toBe(1);
    expect(info()).toEqual({
      apiVersion: v1,
      kind: "ExecCredential",
      spec: { interactive: false, cluster: { server: "https://127.0.0.1:6443" } },
    });
    clock.advance(1000);
    await current();
    expect(runs()).toBe(2);
    credentials?.refresh?.();
    await current();
    expect(runs()).toBe(3);
  });

  test("of v1beta1, with args and env, found beside the kubeconfig, giving a certificate", async () => {
    const beta = "client.authentication.k8s.io/v1beta1";
    const body = credential({ clientCertificateData: "CERT", clientKeyData: "KEY" }, beta);
    const { command, runs } = plugin(`[ "$1$WHO" = hello-joe ] || exit 3\n${body}`);
    const exec = { apiVersion: beta, args: ["hello"], env: [{ name: "WHO", value: "-joe" }] };
    const { credentials } = await withExec({ ...exec, command: `./${command.split("/").at(-1)}` });
    expect(await credentials?.current()).toEqual({ cert: "CERT", key: "KEY" });
    await credentials?.current();
    expect(runs()).toBe(1);
  });

  const failing: [what: string, script: string, message: string][] = [
    ["fails", "echo no login >&2; exit 7", "ended with code 7: no login"],
    ["prints rubbish", "echo hello", "printed no JSON"],
    ["prints another kind", `echo '{"kind":"Pod"}'`, 'not "ExecCredential"'],
    ["prints another version", credential({ token: "x" }, "client.authentication.k8s.io/v1beta1"), "v1beta1"],
    ["prints no credential", credential({}), "neither status.token nor a certificate"],
    ["prints half a certificate", credential({ clientKeyData: "K", token: "t" }), "neither status.token"],
    ["prints no time", credential({ token: "x", expirationTimestamp: "soon" }), "no time"],
  ];
  test.each(failing)("one that %s", async (_, script, message) => {
    const { command } = plugin(script);
    const { credentials } = await withExec({ command, installHint: "Install it from the shop" });
    const error = await credentials?.current().catch((e) => e);
    expect(explain(error)).toContain(message);
    expect(explain(error)).toContain("Install it from the shop");
  });

  test("one that hangs is killed, and one that is not there is named", async () => {
    const clock = new FakeClock();
    const { command } = plugin("exec sleep 1000");
    const { credentials } = await withExec({ command }, clock);
    const answer = credentials?.current().catch((e) => e);
    while (clock.waiting === 0) await Bun.sleep(1);
    clock.advance(60_000);
    expect(explain(await answer)).toContain("did not end within 60000 ms and was killed");
    const missing = await withExec({ command: "/nowhere/plugin" });
    expect(missing.credentials?.current()).rejects.toThrow('"/nowhere/plugin" cannot be started');
  });

  test("one that wants a person is refused", async () => {
    expect(withExec({ command: "x", interactiveMode: "Always" })).rejects.toThrow("needs a person");
  });
});
