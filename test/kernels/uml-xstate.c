/* Lets User-Mode Linux 6.1 run on processors with AMX. uml-run compiles it and puts it before the C library.
 *
 * UML keeps a process's floating-point state in 2696 bytes, which is all up to AVX-512 and PKRU, and gives it back by
 * ptrace(PTRACE_SETREGSET, NT_X86_XSTATE). The host's kernel takes the whole state or none (EFAULT), and with AMX the
 * whole is 11,008 bytes; Linux 6.13 taught UML to ask for the size. Here the part that UML knows is laid over the whole
 * that the process has. No guest process can have AMX state: it would have to ask for it by arch_prctl, which UML lacks.
 */
#define PTRACE_GETREGSET 0x4204
#define PTRACE_SETREGSET 0x4205
#define NT_X86_XSTATE 0x202
#define RTLD_NEXT ((void *)-1)
#define XSTATE_BV 512                /* where the state says which of its parts are in use */
#define PARTS_IN_2696_BYTES 0x2ffUL  /* x87, SSE, AVX, MPX, AVX-512, PKRU */

struct iovec {
  char *base;
  unsigned long len;
};

extern void *dlsym(void *handle, const char *name);

static char state[65536];

long ptrace(long request, long pid, long address, struct iovec *part) {
  static long (*next)(long, long, long, struct iovec *);
  struct iovec whole = {state, sizeof state};
  unsigned long i;

  if (!next) next = dlsym(RTLD_NEXT, "ptrace");
  if (request != PTRACE_SETREGSET || address != NT_X86_XSTATE) return next(request, pid, address, part);
  if (next(PTRACE_GETREGSET, pid, address, &whole) < 0) return -1;
  if (part->len >= whole.len) return next(request, pid, address, part);
  for (i = 0; i < part->len; i++) state[i] = part->base[i];
  *(unsigned long *)(state + XSTATE_BV) &= PARTS_IN_2696_BYTES;
  return next(request, pid, address, &whole);
}
