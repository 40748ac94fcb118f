/**
 * SCTP through a Service: a pod asks by ClusterIP, the world by node port. The scene is that of services.test.ts; server and
 * client are Python's, as Bun has no SCTP. The machine's own kernel may lack it: `test/kernels/vm-run` has a kernel with it.
 */
import { afterEach, expect } from "bun:test";
import type { Subprocess } from "bun";
import { needs, testWith } from "../lib/needs.ts";
import { service, slice } from "../lib/services.ts";
import { type Namespace, Scene } from "./services-fixture.ts";

const socket = "socket.socket(socket.AF_INET6 if ':' in a else socket.AF_INET, socket.SOCK_STREAM, 132)";
const server = `
import socket
a = '::'
s = ${socket}
s.bind((a, 8080))
s.listen()
print('ready', flush=True)
while True:
    c, peer = s.accept()
    c.send(peer[0].replace('::ffff:', '').encode())
    c.close()
`;
const client = (address: string, port: number) => `
import socket
a = '${address}'
s = ${socket}
s.settimeout(5)
s.connect((a, ${port}))
print(s.recv(100).decode())
`;

const probe = `import socket; a = ''; ${socket}`;
const hasSctp = Bun.spawnSync(["python3", "-c", probe], { stderr: "ignore" }).success;
const sctpTest = testWith(
  needs.root,
  needs.kernel("nftables"),
  needs.command("python3", "python3"),
  needs.that(hasSctp, "a kernel with SCTP sockets"),
);

let scene: Scene | undefined;
const running: Subprocess[] = [];
afterEach(() => {
  for (const each of running.splice(0)) each.kill("SIGKILL");
  scene?.close();
});

const python = (where: Namespace, program: string) =>
  Bun.spawn(["ip", "netns", "exec", where.name, "python3", "-c", program], { stdout: "pipe" });

sctpTest(
  "SCTP by ClusterIP and node port, both families",
  async () => {
    scene = new Scene(2);
    const ips = ["10.96.0.1", "fd00:10:96::1"];
    scene.table.setService(service("s", ips, ["3868/SCTP:30868"], { type: "NodePort" }));
    scene.table.setSlice(slice("4", "s", ["10.244.1.12@a"], ["8080/SCTP"]));
    scene.table.setSlice(slice("6", "s", ["fd00:10:244:1::12@a"], ["8080/SCTP"]));
    scene.driver.sync();
    const listening = python(scene.pod(2), server);
    running.push(listening);
    const reader = listening.stdout.getReader();
    await reader.read();
    const ask = (where: Namespace, address: string, port: number) =>
      new Response(python(where, client(address, port)).stdout).text();
    expect(await ask(scene.pod(1), "10.96.0.1", 3868)).toBe("10.244.1.11\n");
    expect(await ask(scene.pod(1), "fd00:10:96::1", 3868)).toBe("fd00:10:244:1::11\n");
    expect(await ask(scene.client, "172.30.0.1", 30868)).toBe("10.244.1.1\n");
    expect(await ask(scene.client, "fd00:30::1", 30868)).toBe("fd00:10:244:1::1\n");
  },
  60_000,
);
