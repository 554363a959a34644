// SPDX-License-Identifier: MIT
#include "fc/version.h"

#include "base/proc.h"

long version_number(const char *version)
{
	long n = 0;

	for (int i = 0; i < 3; i++) {
		size_t digits = strspn(version, "0123456789");
		long part = 0;

		if (!digits || digits > 3 || version[digits] != (i < 2 ? '.' : '\0'))
			return -1;
		while (digits--)
			part = 10 * part + (*version++ - '0');
		version++;
		n = 1000 * n + part;
	}
	return n;
}

int version_of_program(const char *program, char out[32], struct err *e)
{
	const char *const argv[] = { program, "--version", NULL };
	cleanup_proc_result struct proc_result r = { 0 };

	if (proc_capture(argv, NULL, 64 * KIB, 5000, &r, e) < 0)
		return -e->no;
	if (r.status != 0 || sscanf(buf_text(&r.out), "%*31s v%31s", out) != 1)
		return err_kind(e, ERR_FAILED, "%s --version does not tell a version", program);
	return 0;
}
