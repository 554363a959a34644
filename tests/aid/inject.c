// SPDX-License-Identifier: MIT
// Makes a running process do one system call, as code of a stranger's in it would, and tells what
// came of it: the result, the name of an errno, or how the process ended.
//	inject PID CALL [ARGUMENT...]     numbers; @TEXT is the address of TEXT
#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SYSCALL_INSTRUCTION 0x050f
#define BELOW_THE_STACK	    4096

static int fail(const char *what)
{
	fprintf(stderr, "inject: %s: %s\n", what, strerror(errno));
	return 125;
}

static int tell_end(int status)
{
	if (WIFSIGNALED(status))
		printf("killed SIG%s\n", sigabbrev_np(WTERMSIG(status)));
	else
		printf("ended %d\n", WEXITSTATUS(status));
	return 0;
}

// Stops it where it waits in a system call: what lies behind is the instruction for another one.
static int stop_in_call(pid_t pid, struct user_regs_struct *regs)
{
	const struct timespec pause = { .tv_nsec = 5000000 };
	int status;

	for (int tries = 0; tries < 400; tries++) {
		if (ptrace(PTRACE_INTERRUPT, pid, 0, 0) < 0 || waitpid(pid, &status, 0) != pid ||
		    !WIFSTOPPED(status) || ptrace(PTRACE_GETREGS, pid, 0, regs) < 0)
			return -1;
		errno = 0;
		if ((ptrace(PTRACE_PEEKTEXT, pid, regs->rip - 2, 0) & 0xffff) ==
			    SYSCALL_INSTRUCTION &&
		    !errno)
			return 0;
		if (ptrace(PTRACE_CONT, pid, 0, 0) < 0)
			return -1;
		(void)nanosleep(&pause, NULL);
	}
	errno = ETIMEDOUT;
	return -1;
}

static int put_text(pid_t pid, unsigned long long at, const char *text)
{
	for (size_t done = 0; done <= strlen(text); done += sizeof(long)) {
		long word = 0;

		memcpy(&word, text + done, strnlen(text + done, sizeof(word)));
		if (ptrace(PTRACE_POKEDATA, pid, at + done, word) < 0)
			return -1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct user_regs_struct was, regs;
	unsigned long long *const args[] = { &regs.rdi, &regs.rsi, &regs.rdx,
					     &regs.r10, &regs.r8,  &regs.r9 };
	pid_t pid = argc > 2 ? (pid_t)strtoul(argv[1], NULL, 10) : 0;
	int nr = argc > 2 ? seccomp_syscall_resolve_name(argv[2]) : __NR_SCMP_ERROR, status;

	if (pid <= 0 || nr == __NR_SCMP_ERROR || argc > 9)
		return fail("PID CALL [ARGUMENT...]");
	if (ptrace(PTRACE_SEIZE, pid, 0, 0) < 0 || stop_in_call(pid, &was) < 0)
		return fail("stop it");
	regs = was;
	regs.rip -= 2;
	regs.rax = (unsigned long long)nr;
	regs.orig_rax = -1ULL; // nothing to restart now
	for (int i = 3; i < argc; i++) {
		*args[i - 3] = strtoull(argv[i], NULL, 0);
		if (argv[i][0] != '@')
			continue;
		*args[i - 3] = (was.rsp - BELOW_THE_STACK - 512ULL * i) & ~15ULL;
		if (put_text(pid, *args[i - 3], argv[i] + 1) < 0)
			return fail("write into it");
	}
	if (ptrace(PTRACE_SETREGS, pid, 0, &regs) < 0 || ptrace(PTRACE_SINGLESTEP, pid, 0, 0) < 0 ||
	    waitpid(pid, &status, 0) != pid)
		return fail("let it call");
	if (!WIFSTOPPED(status))
		return tell_end(status);
	if (ptrace(PTRACE_GETREGS, pid, 0, &regs) < 0 || ptrace(PTRACE_SETREGS, pid, 0, &was) < 0 ||
	    ptrace(PTRACE_DETACH, pid, 0, 0) < 0)
		return fail("let it go");
	if ((long long)regs.rax < 0 && (long long)regs.rax > -4096)
		printf("%s\n", strerrorname_np((int)-(long long)regs.rax));
	else
		printf("%lld\n", (long long)regs.rax);
	return 0;
}
