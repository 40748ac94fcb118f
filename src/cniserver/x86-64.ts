/**
 * An assembler for as much of x86-64 as the launcher needs: 64-bit registers, memory by register and displacement,
 * labels. Encodings: Intel's Software Developer's Manual, volume 2.
 */

/** In the order of their numbers. */
const registers = [
  ...["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"],
  ...["r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"],
] as const;

export type Register =
  | "rax"
  | "rcx"
  | "rdx"
  | "rbx"
  | "rsp"
  | "rbp"
  | "rsi"
  | "rdi"
  | `r${8 | 9}`
  | `r1${0 | 1 | 2 | 3 | 4 | 5}`;

/** Conditions of a jump, by the low half of the opcode; a is for unsigned numbers, le and g are for signed ones. */
const conditions = { e: 0x4, ne: 0x5, a: 0x7, s: 0x8, le: 0xe, g: 0xf } as const;

/** The number of an instruction with two operands, as in its opcode (times 8). */
const operations = { add: 0, and: 4, sub: 5, cmp: 7 } as const;

interface Gap {
  at: number;
  label: string;
}

function numberOf(register: Register): number {
  return registers.indexOf(register);
}

/** Little-endian bytes of a number of 32 bits, signed or not. */
function dword(value: number): number[] {
  return [value & 255, (value >> 8) & 255, (value >> 16) & 255, (value >>> 24) & 255];
}

/** Collects machine code; every method adds an instruction, or data, at the end. */
export class Assembler {
  readonly #bytes: number[] = [];
  readonly #labels = new Map<string, number>();
  readonly #gaps: Gap[] = [];

  label(name: string): void {
    if (this.#labels.has(name)) throw new RangeError(`label ${name} is there twice`);
    this.#labels.set(name, this.#bytes.length);
  }

  data(bytes: Iterable<number>): void {
    this.#bytes.push(...bytes);
  }

  syscall(): void {
    this.data([0x0f, 0x05]);
  }

  /** Makes a system call by its number, with the flags as for its answer in rax: negative for an error. */
  system(number: number): void {
    this.set("rax", number);
    this.syscall();
    this.op("cmp", "rax", 0);
  }

  ret(): void {
    this.data([0xc3]);
  }

  /** mov to, from */
  move(to: Register, from: Register): void {
    this.#binary(0x89, from, to);
  }

  /** mov to, value; the value of 32 bits is extended by its sign. */
  set(to: Register, value: number): void {
    const r = numberOf(to);
    this.data([0x48 | (r >> 3), 0xc7, 0xc0 | (r & 7), ...dword(value)]);
  }

  /** Like add to, from. */
  op(name: keyof typeof operations, to: Register, from: Register | number): void {
    if (typeof from === "string") {
      this.#binary(operations[name] * 8 + 1, from, to);
      return;
    }
    const r = numberOf(to);
    this.data([0x48 | (r >> 3), 0x81, 0xc0 | (operations[name] << 3) | (r & 7), ...dword(from)]);
  }

  /** Divides rdx:rax; quotient in rax, remainder in rdx. */
  divide(by: Register): void {
    const r = numberOf(by);
    this.data([0x48 | (r >> 3), 0xf7, 0xf0 | (r & 7)]);
  }

  /** mov to, [base + displacement] */
  load(to: Register, base: Register, displacement = 0): void {
    this.#memory([0x8b], to, base, displacement);
  }

  /** mov [base + displacement], from */
  store(base: Register, displacement: number, from: Register): void {
    this.#memory([0x89], from, base, displacement);
  }

  /** movzx to, byte [base + displacement] */
  loadByte(to: Register, base: Register, displacement = 0): void {
    this.#memory([0x0f, 0xb6], to, base, displacement);
  }

  /** mov byte [base + displacement], from. With REX, as it always has here, the low byte of any register. */
  storeByte(base: Register, displacement: number, from: Register): void {
    this.#memory([0x88], from, base, displacement);
  }

  /** mov, of the low half with the upper one cleared: to, dword [base + displacement] */
  loadDword(to: Register, base: Register, displacement = 0): void {
    const code = this.#bytes.length;
    this.#memory([0x8b], to, base, displacement);
    this.#bytes[code] = (this.#bytes[code] ?? 0) & ~8;
  }

  /** lea to, [base + displacement] */
  address(to: Register, base: Register, displacement: number): void {
    this.#memory([0x8d], to, base, displacement);
  }

  /** lea to, [rip + label] */
  addressOf(to: Register, label: string): void {
    const r = numberOf(to);
    this.data([0x48 | ((r >> 3) << 2), 0x8d, 0x05 | ((r & 7) << 3)]);
    this.#relative(label);
  }

  jump(label: string): void {
    this.data([0xe9]);
    this.#relative(label);
  }

  jumpIf(condition: keyof typeof conditions, label: string): void {
    this.data([0x0f, 0x80 | conditions[condition]]);
    this.#relative(label);
  }

  call(label: string): void {
    this.data([0xe8]);
    this.#relative(label);
  }

  /** jmp register */
  jumpTo(to: Register): void {
    const r = numberOf(to);
    this.data([0x40 | (r >> 3), 0xff, 0xe0 | (r & 7)]);
  }

  /** The machine code; it may stand at any address. */
  assemble(): Uint8Array {
    const code = Uint8Array.from(this.#bytes);
    for (const { at, label } of this.#gaps) {
      const target = this.#labels.get(label);
      if (target === undefined) throw new RangeError(`label ${label} is nowhere`);
      code.set(dword(target - (at + 4)), at);
    }
    return code;
  }

  #binary(opcode: number, register: Register, other: Register): void {
    const [r, m] = [numberOf(register), numberOf(other)];
    this.data([0x48 | ((r >> 3) << 2) | (m >> 3), opcode, 0xc0 | ((r & 7) << 3) | (m & 7)]);
  }

  #memory(opcode: number[], register: Register, base: Register, displacement: number): void {
    const [r, b] = [numberOf(register), numberOf(base)];
    // A base of rsp or r12 is written by a SIB byte that has no index.
    const sib = (b & 7) === 4 ? [0x24] : [];
    const rex = 0x48 | ((r >> 3) << 2) | (b >> 3);
    this.data([rex, ...opcode, 0x80 | ((r & 7) << 3) | (b & 7), ...sib, ...dword(displacement)]);
  }

  /** A distance to a label, told once all labels are known. */
  #relative(label: string): void {
    this.#gaps.push({ at: this.#bytes.length, label });
    this.data([0, 0, 0, 0]);
  }
}
