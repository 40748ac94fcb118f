import { expect, test } from "bun:test";
import { formatEnvironment, parseCniArgs, parseInvocation } from "./env.ts";
import { CniError } from "./errors.ts";

const add = {
  CNI_COMMAND: "ADD",
  CNI_CONTAINERID: "blue-1",
  CNI_NETNS: "/run/netns/blue",
  CNI_IFNAME: "eth0",
  CNI_PATH: "/opt/cni/bin::/usr/lib/cni",
};

test("a whole environment is read, and written again", () => {
  const invocation = parseInvocation({ ...add, CNI_ARGS: "IgnoreUnknown=1;X=y", CNI_NETNS_OVERRIDE: "True" });
  expect(invocation).toEqual({
    command: "ADD",
    containerId: "blue-1",
    netns: "/run/netns/blue",
    ifname: "eth0",
    args: { text: "IgnoreUnknown=1;X=y", ignoreUnknown: true },
    path: ["/opt/cni/bin", "/usr/lib/cni"],
    netnsOverride: true,
  });
  expect(parseInvocation(formatEnvironment(invocation))).toEqual(invocation);
});

const errors: [string, Record<string, string | undefined>, string][] = [
  ["no command", { CNI_COMMAND: "" }, 'unknown CNI_COMMAND: ""'],
  ["a misspelt command", { CNI_COMMAND: "DELL" }, 'unknown CNI_COMMAND: "DELL" (did you mean "DEL"?)'],
  [
    "several variables missing",
    { CNI_CONTAINERID: "", CNI_NETNS: undefined, CNI_PATH: "" },
    "required env variables [CNI_CONTAINERID,CNI_NETNS,CNI_PATH] missing",
  ],
  ["a way up in the container id", { CNI_CONTAINERID: "../../etc" }, 'CNI_CONTAINERID: "../../etc" is not'],
  ["a slash in the container id", { CNI_CONTAINERID: "a/b" }, "CNI_CONTAINERID"],
  ["a line break in the container id", { CNI_CONTAINERID: "a\n" }, "CNI_CONTAINERID"],
  ["a dot first in the container id", { CNI_CONTAINERID: ".a" }, "CNI_CONTAINERID"],
  ["a container id without end", { CNI_CONTAINERID: "a".repeat(201) }, "CNI_CONTAINERID"],
  ["a slash in the interface name", { CNI_IFNAME: "e/0" }, 'CNI_IFNAME: "e/0" is not an interface name'],
  ["a colon in the interface name", { CNI_IFNAME: "e:0" }, "CNI_IFNAME"],
  ["a blank in the interface name", { CNI_IFNAME: "e 0" }, "CNI_IFNAME"],
  ["an interface name that the kernel would complete", { CNI_IFNAME: "eth%d" }, "CNI_IFNAME"],
  ["a slash behind letters of 2 bytes", { CNI_IFNAME: "é/0" }, "CNI_IFNAME"],
  ["an interface name of dots", { CNI_IFNAME: ".." }, "CNI_IFNAME"],
  ["16 letters", { CNI_IFNAME: "abcdefghijklmnop" }, "CNI_IFNAME"],
  ["8 letters of 2 bytes each", { CNI_IFNAME: "éééééééé" }, "CNI_IFNAME"],
  ["arguments that are no pairs", { CNI_ARGS: "IP" }, 'CNI_ARGS: "IP" is not a pair'],
  ["an unknown argument", { CNI_ARGS: "IPP=1.2.3.4" }, 'CNI_ARGS: unknown key "IPP" (did you mean "IP"?)'],
  [
    "IgnoreUnknown neither true nor false",
    { CNI_ARGS: "IgnoreUnknown=maybe" },
    "IgnoreUnknown=maybe is neither",
  ],
];
test.each(errors)("%s is an error of code 4", (_, change, message) => {
  try {
    parseInvocation({ ...add, ...change });
    expect.unreachable();
  } catch (error) {
    expect(error).toBeInstanceOf(CniError);
    expect(error as CniError).toMatchObject({ cniCode: 4, message: expect.stringContaining(message) });
  }
});

test("what each command needs", () => {
  expect(parseInvocation({ ...add, CNI_COMMAND: "DEL", CNI_NETNS: "" }).netns).toBe("");
  expect(parseInvocation({ CNI_COMMAND: "GC", CNI_PATH: "/x" })).toMatchObject({
    containerId: "",
    ifname: "",
  });
  expect(parseInvocation({ CNI_COMMAND: "STATUS", CNI_PATH: "/x" }).command).toBe("STATUS");
  expect(parseInvocation({ CNI_COMMAND: "VERSION" }).path).toEqual([]);
  expect(parseInvocation({ ...add, CNI_IFNAME: "ééééééé" }).ifname).toBe("ééééééé");
});

test("DEL does without arguments that cannot be understood", () => {
  for (const text of ["IPP=1.2.3.4", "IP", "IgnoreUnknown=maybe"])
    expect(parseInvocation({ ...add, CNI_COMMAND: "DEL", CNI_ARGS: text }).args).toEqual({ text });
  const known = parseInvocation({ ...add, CNI_COMMAND: "DEL", CNI_ARGS: "IP=10.0.0.1" }).args;
  expect(known).toEqual({ text: "IP=10.0.0.1", ip: "10.0.0.1" });
});

test("a plugin that knows no arguments lets all pass that are pairs", () => {
  const invocation = parseInvocation({ ...add, CNI_ARGS: "FOO=bar;IP=10.0.0.1" }, { knowsNoArgs: true });
  expect(invocation.args).toEqual({ text: "FOO=bar;IP=10.0.0.1", ip: "10.0.0.1" });
  expect(() => parseInvocation({ ...add, CNI_ARGS: "FOO" }, { knowsNoArgs: true })).toThrow("is not a pair");
});

test("what kubelet sends is understood, also without IgnoreUnknown", () => {
  const text =
    "K8S_POD_NAMESPACE=default;K8S_POD_NAME=blue;K8S_POD_INFRA_CONTAINER_ID=abc;K8S_POD_UID=1-2;IP=10.0.0.1;MAC=02::;";
  expect(parseCniArgs(text)).toEqual({
    text,
    podNamespace: "default",
    podName: "blue",
    podInfraContainerId: "abc",
    podUid: "1-2",
    ip: "10.0.0.1",
    mac: "02::",
  });
});
