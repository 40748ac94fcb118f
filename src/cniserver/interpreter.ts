/**
 * Starts the dynamic linker (ld.so), as the kernel would have: fs/binfmt_elf.c, load_elf_interp and create_elf_tables.
 * The launcher needs no library, and an executable whose interpreter the kernel does not see starts in a fifth of the
 * time; only where the engine is to run, its libraries are loaded.
 */
import type { Assembler } from "./x86-64.ts";

/** What the kernel would have found in the executable. */
export interface Program {
  /** The address of its own entry. */
  entry: number;
  /** The path of its dynamic linker. */
  interpreter: string;
  /** The address of the program header that names it. */
  interpreterHeader: number;
}

const sys = { read: 0, close: 3, mmap: 9, mprotect: 10, exit_group: 231, openat: 257 } as const;
const AT_FDCWD = -100;
const O_CLOEXEC = 0o2000000;
const PT_LOAD = 1;
const PT_INTERP = 3;
const PROT_READ = 1;
const PROT_WRITE = 2;
const MAP_PRIVATE = 2;
const MAP_FIXED = 0x10;
const MAP_ANONYMOUS = 0x20;
const AT_NULL = 0;
const AT_BASE = 7;
const AT_ENTRY = 9;
const page = 4096;
/** Of the ELF header and of a program header: places and size. */
const elf = { entry: 24, table: 32, count: 56 } as const;
const segment = {
  type: 0,
  flags: 4,
  offset: 8,
  address: 16,
  fileSize: 32,
  memorySize: 40,
  size: 56,
} as const;
/** As of a shell that cannot start what it found. */
const cannotStart = 126;

/**
 * Goes on to the program by its dynamic linker. The stack (at r12) and rdx (in r13) are as the kernel gave them. rbp: the
 * linker's file, rbx: its program headers, r14: how many are left, r15: where it is loaded.
 */
export function startProgram(a: Assembler, program: Program): void {
  a.move("rsp", "r12");
  a.op("sub", "rsp", page + 64);
  a.op("and", "rsp", -64);
  readHeaders(a);
  reserve(a);
  a.label("segment");
  loadSegment(a);
  a.label("segment-done");
  a.op("add", "rbx", segment.size);
  a.op("sub", "r14", 1);
  a.jumpIf("ne", "segment");
  a.move("rdi", "rbp");
  a.system(sys.close);
  showInterpreter(a, program);
  tellLinker(a, program);
  a.load("rax", "rsp", elf.entry);
  a.op("add", "rax", "r15");
  a.move("rsp", "r12");
  a.move("rdx", "r13");
  a.jumpTo("rax");
  a.label("cannot-start");
  a.set("rdi", cannotStart);
  a.system(sys.exit_group);
}

/** What {@link startProgram} reads. */
export function interpreterData(a: Assembler, { interpreter }: Program): void {
  a.label("interpreter");
  a.data(new TextEncoder().encode(`${interpreter}\0`));
  // By PF_X (1), PF_W (2) and PF_R (4): PROT_READ (1), PROT_WRITE (2), PROT_EXEC (4).
  a.label("protections");
  a.data([0, 4, 2, 6, 1, 5, 3, 7]);
}

function readHeaders(a: Assembler): void {
  a.set("rdi", AT_FDCWD);
  a.addressOf("rsi", "interpreter");
  a.set("rdx", O_CLOEXEC);
  a.set("r10", 0);
  a.system(sys.openat);
  a.jumpIf("s", "cannot-start");
  a.move("rbp", "rax");
  a.move("rdi", "rbp");
  a.move("rsi", "rsp");
  a.set("rdx", page);
  a.system(sys.read);
  a.op("cmp", "rax", page);
  a.jumpIf("ne", "cannot-start");
}

function firstSegment(a: Assembler): void {
  a.load("rbx", "rsp", elf.table);
  a.op("add", "rbx", "rsp");
  a.loadByte("r14", "rsp", elf.count);
}

/** Addresses for all of it, at a place that the kernel chooses. */
function reserve(a: Assembler): void {
  firstSegment(a);
  a.set("r15", 0);
  a.label("end-of-segment");
  a.loadDword("rax", "rbx", segment.type);
  a.op("cmp", "rax", PT_LOAD);
  a.jumpIf("ne", "end-known");
  a.load("rax", "rbx", segment.address);
  a.load("rcx", "rbx", segment.memorySize);
  a.op("add", "rax", "rcx");
  a.op("cmp", "rax", "r15");
  a.jumpIf("le", "end-known");
  a.move("r15", "rax");
  a.label("end-known");
  a.op("add", "rbx", segment.size);
  a.op("sub", "r14", 1);
  a.jumpIf("ne", "end-of-segment");
  a.set("rdi", 0);
  a.move("rsi", "r15");
  a.set("rdx", 0);
  a.set("r10", MAP_PRIVATE | MAP_ANONYMOUS);
  a.set("r8", -1);
  a.set("r9", 0);
  a.system(sys.mmap);
  a.jumpIf("s", "cannot-start");
  a.move("r15", "rax");
  firstSegment(a);
}

function loadSegment(a: Assembler): void {
  a.loadDword("rax", "rbx", segment.type);
  a.op("cmp", "rax", PT_LOAD);
  a.jumpIf("ne", "segment-done");
  a.load("rdi", "rbx", segment.address);
  a.move("rsi", "rdi");
  a.op("and", "rsi", page - 1);
  a.load("rax", "rbx", segment.fileSize);
  a.op("add", "rsi", "rax");
  a.op("and", "rdi", -page);
  a.op("add", "rdi", "r15");
  a.loadDword("rcx", "rbx", segment.flags);
  a.addressOf("rdx", "protections");
  a.op("add", "rdx", "rcx");
  a.loadByte("rdx", "rdx");
  a.set("r10", MAP_PRIVATE | MAP_FIXED);
  a.move("r8", "rbp");
  a.load("r9", "rbx", segment.offset);
  a.op("and", "r9", -page);
  a.system(sys.mmap);
  a.jumpIf("s", "cannot-start");
  clearRest(a);
}

/** What a segment has in memory beyond the file is zero: the rest of the last page, and pages of their own. */
function clearRest(a: Assembler): void {
  a.load("rdi", "rbx", segment.address);
  a.op("add", "rdi", "r15");
  a.move("rsi", "rdi");
  a.load("rax", "rbx", segment.fileSize);
  a.op("add", "rdi", "rax");
  a.load("rcx", "rbx", segment.memorySize);
  a.op("add", "rsi", "rcx");
  a.op("cmp", "rcx", "rax");
  a.jumpIf("le", "segment-done");
  a.set("rax", 0);
  a.label("clear");
  a.move("rcx", "rdi");
  a.op("and", "rcx", page - 1);
  a.jumpIf("e", "cleared");
  a.storeByte("rdi", 0, "rax");
  a.op("add", "rdi", 1);
  a.jump("clear");
  a.label("cleared");
  a.op("sub", "rsi", "rdi");
  a.jumpIf("le", "segment-done");
  a.set("rdx", PROT_READ | PROT_WRITE);
  a.set("r10", MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS);
  a.set("r8", -1);
  a.set("r9", 0);
  a.system(sys.mmap);
  a.jumpIf("s", "cannot-start");
}

/** The linker finds the program header that names it, which the file hides from the kernel. */
function showInterpreter(a: Assembler, { interpreterHeader }: Program): void {
  const protect = (protection: number) => {
    a.set("rdi", interpreterHeader & -page);
    a.set("rsi", page);
    a.set("rdx", protection);
    a.system(sys.mprotect);
    a.jumpIf("ne", "cannot-start");
  };
  protect(PROT_READ | PROT_WRITE);
  a.set("rdi", interpreterHeader);
  a.load("rax", "rdi");
  a.op("add", "rax", PT_INTERP);
  a.store("rdi", 0, "rax");
  protect(PROT_READ);
}

/** The auxiliary vector: where the linker is, and where the program begins. */
function tellLinker(a: Assembler, { entry }: Program): void {
  a.load("rdi", "r12");
  a.op("add", "rdi", 2);
  for (let doubled = 0; doubled < 3; doubled++) a.op("add", "rdi", "rdi");
  a.op("add", "rdi", "r12");
  a.label("skip-environment");
  a.load("rax", "rdi");
  a.op("add", "rdi", 8);
  a.op("cmp", "rax", 0);
  a.jumpIf("ne", "skip-environment");
  a.label("auxiliary");
  a.load("rax", "rdi");
  a.op("cmp", "rax", AT_NULL);
  a.jumpIf("e", "told");
  a.op("cmp", "rax", AT_BASE);
  a.jumpIf("ne", "not-base");
  a.store("rdi", 8, "r15");
  a.label("not-base");
  a.op("cmp", "rax", AT_ENTRY);
  a.jumpIf("ne", "not-entry");
  a.set("rcx", entry);
  a.store("rdi", 8, "rcx");
  a.label("not-entry");
  a.op("add", "rdi", 16);
  a.jump("auxiliary");
  a.label("told");
}
