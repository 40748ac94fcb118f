/**
 * The launcher: the first code that runs in an executable `weft-cni` on x86-64, ahead of the JavaScript engine's. Where
 * a server of this network namespace is there, it has the server do the work and ends; a hundredth of the engine's
 * start. Otherwise it goes on to the engine, as the kernel would have started it.
 *
 * Calls: syscall numbers of arch/x86/entry/syscalls/syscall_64.tbl; the state at the entry: System V ABI, AMD64
 * supplement, 3.4.1. Registers over all of it: r12 the stack as found, r13 rdx as found, rbp the socket, rbx where the
 * strings begin, r14 their length.
 */
import { interpreterData, type Program, startProgram } from "./interpreter.ts";
import {
  accepted,
  answerHeaderSize,
  headerSize,
  identities,
  longestStrings,
  magic,
  pieceSize,
  socketName,
  statSize,
} from "./protocol.ts";
import { Assembler } from "./x86-64.ts";

const sys = {
  read: 0,
  write: 1,
  close: 3,
  poll: 7,
  socket: 41,
  connect: 42,
  sendto: 44,
  setsockopt: 54,
  getsockopt: 55,
  geteuid: 107,
  exit_group: 231,
  newfstatat: 262,
} as const;
const AT_FDCWD = -100;
const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_CLOEXEC = 0o2000000;
const MSG_NOSIGNAL = 0x4000;
const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
const SO_RCVTIMEO = 20;
const SO_SNDTIMEO = 21;
const POLLIN = 1;
const POLLOUT = 4;
const EAGAIN = 11;
/** sizeof(struct timeval): seconds, microseconds. */
const timevalSize = 16;
/** sizeof(struct ucred): process, user, group. */
const ucredSize = 12;
/** A server that does not even say whether it takes the call is stuck, and this process acts itself. Seconds. */
const patience = 3;

/** On the stack: the header, or a length and a piece. */
const frameSize = 8 + pieceSize;
/** sizeof(struct sockaddr_un) */
const sockaddrSize = 110;

/** For when the server ends in the middle: the runtime takes it as any other failure of a plugin, and calls again. */
const lostServer = JSON.stringify({
  cniVersion: "1.0.0",
  code: 11,
  msg: "weft-cni: the server that was doing this ended before it was done",
  details: "Call again; without a server the plugin does the work itself",
});

const text = (value: string) => new TextEncoder().encode(value);
const terminated = (value: string) => text(`${value}\0`);

/** Reads a number out of the first 8 or 4 bytes of a text, as a comparison with memory wants it. */
function dwordAt(value: string, at: number): number {
  return new DataView(text(value).buffer).getInt32(at, true);
}

/** The launcher's code for an executable. */
export function launcherCode(program: Program): Uint8Array {
  const a = new Assembler();
  a.move("r12", "rsp");
  a.move("r13", "rdx");
  findStrings(a);
  connect(a);
  sendHeader(a);
  sendInput(a);
  passAnswer(a);
  giveUp(a);
  startProgram(a, program);
  routines(a);
  data(a);
  interpreterData(a, program);
  return a.assemble();
}

/** Is CNI_COMMAND set at all? rbx: argv[0], r14: the length of everything from there to the environment's end. */
function findStrings(a: Assembler): void {
  a.load("rax", "r12");
  a.op("cmp", "rax", 0);
  a.jumpIf("e", "self");
  // Environment: behind argc, the arguments and their null.
  a.op("add", "rax", "rax");
  a.op("add", "rax", "rax");
  a.op("add", "rax", "rax");
  a.address("rdi", "r12", 16);
  a.op("add", "rdi", "rax");
  a.set("r15", 0);
  a.set("r14", 0);
  a.label("variable");
  a.load("rsi", "rdi");
  a.op("cmp", "rsi", 0);
  a.jumpIf("e", "variables-end");
  a.op("add", "rdi", 8);
  a.move("r14", "rsi");
  for (const at of [0, 4, 8]) {
    a.loadDword("rax", "rsi", at);
    a.op("cmp", "rax", dwordAt("CNI_COMMAND=", at));
    a.jumpIf("ne", "variable");
  }
  a.set("r15", 1);
  a.jump("variable");
  a.label("variables-end");
  a.op("cmp", "r15", 0);
  a.jumpIf("e", "self");
  a.label("last-variable");
  a.loadByte("rax", "r14");
  a.op("add", "r14", 1);
  a.op("cmp", "rax", 0);
  a.jumpIf("ne", "last-variable");
  a.load("rbx", "r12", 8);
  a.op("sub", "r14", "rbx");
  // Also where they are not in the order in which the kernel lays them.
  a.op("cmp", "r14", longestStrings);
  a.jumpIf("a", "self");
}

/** rbp: a socket of the server for the network namespace that this process is in. */
function connect(a: Assembler): void {
  const { prefix, digits, suffix } = socketName;
  a.op("sub", "rsp", frameSize + 256);
  a.op("and", "rsp", -16);
  stat(a, 0, "rsp", 0);
  // struct sockaddr_un: the family in 2 bytes, the path.
  const path = 256;
  a.addressOf("rsi", "address");
  a.address("rdi", "rsp", path);
  a.set("rcx", sockaddrSize);
  a.data([0xf3, 0xa4]); // rep movsb
  a.load("rax", "rsp", 8);
  a.address("rdi", "rsp", path + 2 + prefix.length + digits - 1);
  a.set("rcx", 10);
  a.set("r8", digits);
  a.label("digit");
  a.set("rdx", 0);
  a.divide("rcx");
  a.op("add", "rdx", 48);
  a.storeByte("rdi", 0, "rdx");
  a.op("sub", "rdi", 1);
  a.op("sub", "r8", 1);
  a.jumpIf("ne", "digit");
  a.set("rdi", AF_UNIX);
  a.set("rsi", SOCK_STREAM | SOCK_CLOEXEC);
  a.set("rdx", 0);
  a.system(sys.socket);
  a.jumpIf("s", "self");
  a.move("rbp", "rax");
  // In the place of a standard stream that is closed, where it would be taken for that.
  a.op("cmp", "rbp", 2);
  a.jumpIf("le", "close");
  // Connecting and sending also wait, where a stuck server's queues are full.
  limitWait(a, patience);
  a.move("rdi", "rbp");
  a.address("rsi", "rsp", path);
  a.set("rdx", 2 + prefix.length + digits + suffix.length + 1);
  a.system(sys.connect);
  a.jumpIf("ne", "close");
  requireOwnServer(a);
}

/** Nobody else may do this user's work, or give its answers. */
function requireOwnServer(a: Assembler): void {
  a.set("rax", ucredSize);
  a.store("rsp", 16, "rax");
  a.move("rdi", "rbp");
  a.set("rsi", SOL_SOCKET);
  a.set("rdx", SO_PEERCRED);
  a.move("r10", "rsp");
  a.address("r8", "rsp", 16);
  a.system(sys.getsockopt);
  a.jumpIf("ne", "close");
  a.loadDword("r15", "rsp", 4);
  a.system(sys.geteuid);
  a.op("cmp", "r15", "rax");
  a.jumpIf("ne", "close");
}

/** How long connecting, sending and receiving wait, in seconds; 0 for as long as it takes. */
function limitWait(a: Assembler, seconds: number): void {
  a.set("rax", seconds);
  a.store("rsp", 0, "rax");
  a.set("rax", 0);
  a.store("rsp", 8, "rax");
  a.move("rdi", "rbp");
  a.set("rsi", SOL_SOCKET);
  a.move("r10", "rsp");
  a.set("r8", timevalSize);
  for (const option of [SO_RCVTIMEO, SO_SNDTIMEO]) {
    a.set("rdx", option);
    a.system(sys.setsockopt);
  }
}

function sendHeader(a: Assembler): void {
  a.addressOf("rsi", "magic");
  a.load("rax", "rsi");
  a.store("rsp", 0, "rax");
  a.load("rax", "r12");
  a.store("rsp", 8, "rax");
  a.store("rsp", 16, "r14");
  for (const index of identities.keys()) {
    stat(a, index, "rsp", 24 + index * statSize, "close");
  }
  a.move("rsi", "rsp");
  a.set("rdx", headerSize);
  a.call("send");
  a.jumpIf("le", "close");
  a.move("rsi", "rbx");
  a.move("rdx", "r14");
  a.call("send");
  a.jumpIf("le", "close");
  a.move("rsi", "rsp");
  a.set("rdx", 1);
  a.call("receive");
  a.jumpIf("le", "close");
  a.loadByte("rax", "rsp");
  a.op("cmp", "rax", accepted);
  a.jumpIf("ne", "close");
  limitWait(a, 0);
}

function sendInput(a: Assembler): void {
  a.label("input");
  a.set("rdi", 0);
  a.address("rsi", "rsp", 8);
  a.set("rdx", pieceSize);
  a.system(sys.read);
  a.move("r15", "rax");
  a.jumpIf("g", "piece");
  a.set("r15", 0);
  // An error ends it as the end does, but for there being nothing yet (O_NONBLOCK).
  a.op("cmp", "rax", -EAGAIN);
  a.jumpIf("ne", "piece");
  a.set("r10", POLLIN);
  a.call("wait");
  a.jump("input");
  a.label("piece");
  a.store("rsp", 0, "r15");
  a.move("rsi", "rsp");
  a.address("rdx", "r15", 8);
  a.call("send");
  // A server that has seen enough has answered.
  a.jumpIf("le", "answer");
  a.op("cmp", "r15", 0);
  a.jumpIf("ne", "input");
}

/** Standard output and standard error as they come, then the exit status, which the server is told as well. */
function passAnswer(a: Assembler): void {
  a.label("answer");
  a.move("rsi", "rsp");
  a.set("rdx", answerHeaderSize);
  a.call("receive");
  a.jumpIf("le", "lost");
  a.load("r12", "rsp");
  a.load("r14", "rsp", 8);
  a.load("r15", "rsp", 16);
  a.set("r13", 1);
  a.call("pass");
  a.move("r14", "r15");
  a.set("r13", 2);
  a.call("pass");
  a.store("rsp", 0, "r12");
  a.move("rsi", "rsp");
  a.set("rdx", 1);
  a.call("send");
  a.move("rdi", "r12");
  a.system(sys.exit_group);
}

function giveUp(a: Assembler): void {
  a.label("lost");
  a.set("rdi", 1);
  a.addressOf("rsi", "lost-server");
  a.set("rdx", text(lostServer).length);
  a.system(sys.write);
  a.set("rdi", 1);
  a.system(sys.exit_group);

  a.label("close");
  a.move("rdi", "rbp");
  a.system(sys.close);
  a.label("self");
}

function routines(a: Assembler): void {
  // Sends rdx bytes at rsi. Flags: positive where they are gone.
  a.label("send");
  a.move("rdi", "rbp");
  a.set("r10", MSG_NOSIGNAL);
  a.set("r8", 0);
  a.set("r9", 0);
  a.system(sys.sendto);
  a.jumpIf("le", "return");
  a.op("add", "rsi", "rax");
  a.op("sub", "rdx", "rax");
  a.jumpIf("ne", "send");
  a.op("cmp", "rax", 0);
  a.label("return");
  a.ret();

  // Receives rdx bytes to rsi. Flags: positive where all came.
  a.label("receive");
  a.move("rdi", "rbp");
  a.system(sys.read);
  a.jumpIf("le", "return");
  a.op("add", "rsi", "rax");
  a.op("sub", "rdx", "rax");
  a.jumpIf("ne", "receive");
  a.op("cmp", "rax", 0);
  a.ret();

  // Passes r14 bytes of the answer to the descriptor r13. The return address is at rsp, the frame behind it.
  a.label("pass");
  a.op("cmp", "r14", 0);
  a.jumpIf("e", "return");
  a.move("rdi", "rbp");
  a.address("rsi", "rsp", 8);
  a.set("rdx", pieceSize);
  a.op("cmp", "r14", "rdx");
  a.jumpIf("a", "pass-piece");
  a.move("rdx", "r14");
  a.label("pass-piece");
  a.system(sys.read);
  a.jumpIf("le", "pass-lost");
  a.move("rdx", "rax");
  a.op("sub", "r14", "rax");
  a.label("pass-write");
  a.move("rdi", "r13");
  a.system(sys.write);
  a.jumpIf("g", "pass-on");
  a.set("r10", POLLOUT);
  a.op("cmp", "rax", -EAGAIN);
  a.jumpIf("ne", "pass-failed");
  a.call("wait");
  a.jump("pass-write");
  // Nobody takes it: the rest is read all the same, and the exit status is that of a failure.
  a.label("pass-failed");
  a.set("r12", 1);
  a.jump("pass");
  a.label("pass-on");
  a.op("add", "rsi", "rax");
  a.op("sub", "rdx", "rax");
  a.jumpIf("ne", "pass-write");
  a.jump("pass");
  a.label("pass-lost");
  a.set("rdi", 1);
  a.system(sys.exit_group);

  // Waits for the events r10 of the descriptor rdi. Keeps rsi and rdx. struct pollfd: descriptor, events; in the red zone.
  a.label("wait");
  a.move("r8", "rsi");
  a.move("r9", "rdx");
  a.store("rsp", -16, "rdi");
  a.storeByte("rsp", -12, "r10");
  a.address("rdi", "rsp", -16);
  a.set("rsi", 1);
  a.set("rdx", -1);
  a.system(sys.poll);
  a.move("rsi", "r8");
  a.move("rdx", "r9");
  a.ret();
}

function data(a: Assembler): void {
  const { prefix, digits, suffix } = socketName;
  a.label("magic");
  a.data(magic);
  a.label("address");
  const address = new Uint8Array(sockaddrSize);
  address.set([AF_UNIX, 0, ...text(`${prefix}${"0".repeat(digits)}${suffix}`)]);
  a.data(address);
  for (const [index, path] of identities.entries()) {
    a.label(`identity-${index}`);
    a.data(terminated(path));
  }
  a.label("lost-server");
  a.data(text(lostServer));
}

/** The struct stat of what an identity is, at [base + displacement]. */
function stat(a: Assembler, identity: number, base: "rsp", displacement: number, failed = "self"): void {
  a.set("rdi", AT_FDCWD);
  a.addressOf("rsi", `identity-${identity}`);
  a.address("rdx", base, displacement);
  a.set("r10", 0);
  a.system(sys.newfstatat);
  a.jumpIf("s", failed);
}
