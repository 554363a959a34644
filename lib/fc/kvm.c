// SPDX-License-Identifier: MIT
#include "fc/kvm.h"

#include <fcntl.h>

#include "base/fd.h"

#ifdef __x86_64__
static bool cpu_has(const char *cpuinfo, const char *flag)
{
	size_t len = strlen(flag);

	for (const char *p = cpuinfo; (p = strstr(p, flag)); p += len)
		if (p > cpuinfo && p[-1] == ' ' && (p[len] == ' ' || p[len] == '\n'))
			return true;
	return false;
}
#endif

bool kvm_usable(char why[200])
{
	cleanup_fd int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	why[0] = '\0';
	if (kvm < 0) {
		base_cut(why, 200, "/dev/kvm does not open: %s", strerror(errno));
		return false;
	}
#ifdef __x86_64__
	cleanup_buf struct buf cpu = BUF_INIT;
	struct err ignored = { 0 };

	if (fd_read_file(AT_FDCWD, "/proc/cpuinfo", 8 * MIB, &cpu, &ignored) < 0 ||
	    (!cpu_has(buf_text(&cpu), "vmx") && !cpu_has(buf_text(&cpu), "svm"))) {
		base_cut(why, 200, "/dev/kvm opens but the CPU shows neither vmx nor svm");
		return false;
	}
#endif
	return true;
}
