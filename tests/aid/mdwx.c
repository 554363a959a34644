// SPDX-License-Identifier: MIT
// Runs a command under what systemd's MemoryDenyWriteExecute=yes installs: no memory that is both
// writable and executable, and none that becomes executable later.
//	mdwx COMMAND [ARGUMENT...]
#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <unistd.h>

#define BITS(arg, mask) SCMP_CMP(arg, SCMP_CMP_MASKED_EQ, mask, mask)

int main(int argc, char **argv)
{
	const uint32_t deny = SCMP_ACT_ERRNO(EPERM);
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);

	if (argc < 2 || !ctx || seccomp_attr_set(ctx, SCMP_FLTATR_CTL_NNP, geteuid() != 0) < 0 ||
	    seccomp_rule_add(ctx, deny, SCMP_SYS(mmap), 1, BITS(2, PROT_EXEC | PROT_WRITE)) < 0 ||
	    seccomp_rule_add(ctx, deny, SCMP_SYS(mprotect), 1, BITS(2, PROT_EXEC)) < 0 ||
	    seccomp_rule_add(ctx, deny, SCMP_SYS(pkey_mprotect), 1, BITS(2, PROT_EXEC)) < 0 ||
	    seccomp_rule_add(ctx, deny, SCMP_SYS(shmat), 1, BITS(2, SHM_EXEC)) < 0 ||
	    seccomp_load(ctx) < 0) {
		fprintf(stderr, "mdwx: no filter\n");
		return 125;
	}
	(void)execvp(argv[1], argv + 1);
	perror("mdwx");
	return 127;
}
