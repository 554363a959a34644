// SPDX-License-Identifier: MIT
// The image's entrypoint: started once, before READY; its output is kept for `logs`. When it ends
// the guest stays up, and health says how it ended.
#include "guest/agent_core.h"

#include <fcntl.h>
#include <sys/wait.h>

static void on_output(void *arg, uint32_t events)
{
	struct agent *a = arg;
	char bytes[16384];
	ssize_t n = read(a->entry_fd, bytes, sizeof(bytes));

	(void)events;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		loop_remove(a->entry_source);
		a->entry_source = NULL;
		(void)close(steal_fd(&a->entry_fd));
		return;
	}
	agent_log_add(a, GUEST_LOG_ENTRYPOINT, bytes, (size_t)n);
	agent_settle(a);
}

int agent_entry_start(struct agent *a, struct err *e)
{
	const struct guest_welcome *w = &a->welcome;
	cleanup_fd int null = -1, out = -1;
	struct spawn s = { .argv = &w->argv,
			   .env_base = &w->env,
			   .cwd = w->cwd,
			   .user = w->user,
			   .cwd_root = true };

	if (w->argv.count == 0 || a->entry_state != GUEST_ENTRY_NONE)
		return 0;
	null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (null < 0)
		return err_sys(e, "open /dev/null");
	if (agent_spawn_pipe(false, &a->entry_fd, &out, e) < 0)
		return -e->no;
	s.fd[0] = null;
	s.fd[1] = s.fd[2] = out;
	if (agent_spawn_run(&s, &a->entry_pid, e) < 0 ||
	    loop_add_fd(a->loop, a->entry_fd, EPOLLIN, on_output, a, &a->entry_source, e) < 0) {
		(void)close(steal_fd(&a->entry_fd));
		e->kind = ERR_FAILED; // 126 and 127 are the answers of exec, not of a start
		return err_wrap(e, "entrypoint");
	}
	a->entry_state = GUEST_ENTRY_RUNNING;
	return 0;
}

void agent_entry_ended(struct agent *a, int status)
{
	a->entry_pid = 0;
	a->entry_state = GUEST_ENTRY_ENDED;
	a->entry_status = status;
	if (WIFSIGNALED(status))
		agent_say(a, "the entrypoint was ended by signal %d", WTERMSIG(status));
	else
		agent_say(a, "the entrypoint ended with %d", WEXITSTATUS(status));
}

void agent_entry_free(struct agent *a)
{
	loop_remove(a->entry_source);
	base_closep(&a->entry_fd);
}
