/* Programs that ask this CPU what it can do (CPUID) do not hear of some of it.
 *
 * Preloaded (LD_PRELOAD), so that it is in force before any library asks. Linux makes CPUID fault
 * in this process (arch_prctl(2), ARCH_CPUID; not beyond execve(2), where this is preloaded anew);
 * the handler asks in its place and clears the bits that HAGO_BENCH_HIDDEN names: EBX, ECX and EDX
 * of leaf 7, then EAX, EBX and EDX of its subleaf 1, as hexadecimal numbers.
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

enum { ARCH_SET_CPUID = 0x1012, FEATURES = 7 };
static unsigned hidden[2][4]; /* by subleaf and register: EAX, EBX, ECX, EDX */
static int (*next_sigaction)(int, const struct sigaction *, struct sigaction *);

static long set_cpuid(long is_allowed) { return syscall(SYS_arch_prctl, ARCH_SET_CPUID, is_allowed); }

static void answer(greg_t *registers) {
  unsigned leaf = registers[REG_RAX], subleaf = registers[REG_RCX], found[4];
  set_cpuid(1);
  __cpuid_count(leaf, subleaf, found[0], found[1], found[2], found[3]);
  set_cpuid(0);
  if (leaf == FEATURES && subleaf < 2)
    for (int i = 0; i < 4; i++) found[i] &= ~hidden[subleaf][i];
  registers[REG_RAX] = found[0], registers[REG_RBX] = found[1];
  registers[REG_RCX] = found[2], registers[REG_RDX] = found[3];
  registers[REG_RIP] += 2; /* the length of CPUID */
}

static void handle(int signal_number, siginfo_t *info, void *context) {
  greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
  const unsigned char *code = (const unsigned char *)registers[REG_RIP];
  if (info->si_code == SI_KERNEL && code[0] == 0x0f && code[1] == 0xa2) {
    answer(registers);
    return;
  }
  struct sigaction usual = {.sa_handler = SIG_DFL};
  next_sigaction(signal_number, &usual, NULL); /* it faults again, and ends the process */
}

/* Libraries that would print where they fail (SIGSEGV) must not take the handler away. */
int sigaction(int number, const struct sigaction *wanted, struct sigaction *old) {
  if (!next_sigaction) next_sigaction = dlsym(RTLD_NEXT, "sigaction");
  return next_sigaction(number, number == SIGSEGV ? NULL : wanted, old);
}

sighandler_t signal(int number, sighandler_t handler) {
  struct sigaction wanted = {.sa_handler = handler, .sa_flags = SA_RESTART}, old;
  return sigaction(number, &wanted, &old) ? SIG_ERR : old.sa_handler;
}

/* Whether it is in force. */
int hago_hides(void) {
  return syscall(SYS_arch_prctl, ARCH_SET_CPUID - 1) == 0;
}

__attribute__((constructor)) static void begin(void) {
  const char *bits = getenv("HAGO_BENCH_HIDDEN");
  unsigned *h = hidden[0], *h1 = hidden[1];
  if (!bits || sscanf(bits, "%x %x %x %x %x %x", h + 1, h + 2, h + 3, h1, h1 + 1, h1 + 3) != 6) return;
  struct sigaction asked = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_NODEFER};
  next_sigaction = dlsym(RTLD_NEXT, "sigaction");
  if (next_sigaction(SIGSEGV, &asked, NULL) == 0) set_cpuid(0);
}
