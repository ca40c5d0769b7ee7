/* A process that loads this is told that its processor ends with AVX2: no AVX-512, AVX-VNNI or AMX.
 *
 * Linux lets a process fault its own CPUID instructions where the processor can (`cpuid_fault` in /proc/cpuinfo); the
 * handler executes them and strikes out what came after AVX2. So every library chooses its kernels as it would on such a
 * processor, those without a switch of their own (XNNPACK) included. Leaf numbers and bits: Intel's manual, volume 2,
 * CPUID. The setting ends at exec, and with LD_PRELOAD in the environment begins anew.
 */

#define _GNU_SOURCE
#include <cpuid.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define ARCH_SET_CPUID 0x1012
#define BIT(n) (1u << (n))

static void answer(int number, siginfo_t *info, void *context) {
  greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
  const unsigned char *at = (const unsigned char *)registers[REG_RIP];
  (void)info;
  if (at[0] != 0x0f || at[1] != 0xa2) { /* a fault of its own: it comes again, and ends the process */
    signal(number, SIG_DFL);
    return;
  }
  unsigned leaf = (unsigned)registers[REG_RAX], part = (unsigned)registers[REG_RCX], a, b, c, d;
  syscall(SYS_arch_prctl, ARCH_SET_CPUID, 1);
  __cpuid_count(leaf, part, a, b, c, d);
  syscall(SYS_arch_prctl, ARCH_SET_CPUID, 0);
  if (leaf == 7 && part == 0) {
    /* AVX-512 F, DQ, IFMA, PF, ER, CD, BW, VL; VBMI, VBMI2, GFNI, VAES, VPCLMULQDQ, VNNI, BITALG, VPOPCNTDQ;
       4VNNIW, 4FMAPS, VP2INTERSECT, AMX-BF16, FP16, AMX-TILE, AMX-INT8 */
    b &= ~(BIT(16) | BIT(17) | BIT(21) | BIT(26) | BIT(27) | BIT(28) | BIT(30) | BIT(31));
    c &= ~(BIT(1) | BIT(6) | BIT(8) | BIT(9) | BIT(10) | BIT(11) | BIT(12) | BIT(14));
    d &= ~(BIT(2) | BIT(3) | BIT(8) | BIT(22) | BIT(23) | BIT(24) | BIT(25));
  } else if (leaf == 7 && part == 1) { /* AVX-VNNI, AVX512-BF16, AMX-FP16, AVX-IFMA; in EDX their successors */
    a &= ~(BIT(4) | BIT(5) | BIT(21) | BIT(23));
    d = 0;
  } else if (leaf == 0x1d || leaf == 0x1e || leaf == 0x24) { /* AMX tiles and units, AVX10 */
    a = b = c = d = 0;
  }
  registers[REG_RAX] = a;
  registers[REG_RBX] = b;
  registers[REG_RCX] = c;
  registers[REG_RDX] = d;
  registers[REG_RIP] += 2;
}

__attribute__((constructor)) static void begin(void) {
  struct sigaction action = {.sa_sigaction = answer, .sa_flags = SA_SIGINFO | SA_NODEFER};
  sigaction(SIGSEGV, &action, NULL);
  if (syscall(SYS_arch_prctl, ARCH_SET_CPUID, 0) != 0) {
    perror("only_avx2: this processor or kernel cannot fault CPUID");
    exit(1);
  }
}
