// SPDX-License-Identifier: MIT
// What the guest's program says of itself: one word in a file of its own.
#include "guest/agent_core.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

#include "guest/worker.h"

static const char *const words[] = { "ready", "idle", "busy" };

bool worker_word_ok(const char *word)
{
	for (size_t i = 0; i < COUNT(words); i++)
		if (str_eq(word, words[i]))
			return true;
	return false;
}

// The file is the guest's and may be anything: a regular one, and a word that we know.
void agent_worker_read(const struct agent *a, struct guest_health *out)
{
	const char *path = a->hooks.worker_file;
	cleanup_fd int fd = -1;
	struct timespec now = { 0 };
	char word[16] = "";
	struct stat st;
	int64_t age;

	if (path)
		fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ||
	    read(fd, word, sizeof(word) - 1) <= 0)
		return;
	word[strcspn(word, "\n")] = '\0';
	if (!worker_word_ok(word))
		return;
	(void)clock_gettime(CLOCK_REALTIME, &now);
	age = ((int64_t)now.tv_sec - st.st_mtim.tv_sec) * 1000 +
	      (now.tv_nsec - st.st_mtim.tv_nsec) / 1000000;
	memcpy(out->worker, word, sizeof(word));
	out->worker_age_ms = age > 0 ? (uint64_t)age : 0;
}

int worker_say(const char *path, const char *word, struct err *e)
{
	cleanup_fd int fd = open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644);
	char line[16];

	if (!worker_word_ok(word))
		return err_usage(e, "'%.32s' is not ready, idle or busy", word);
	if (fd < 0)
		return err_sys(e, "open %s", path);
	// In place, since the file is the entrypoint's and its directory is not. The word is cut
	// at its line's end, so what was longer before does not matter until the file is cut.
	base_cut(line, sizeof(line), "%s\n", word);
	if (write(fd, line, strlen(line)) != (ssize_t)strlen(line) ||
	    ftruncate(fd, (off_t)strlen(line)) < 0)
		return err_sys(e, "write %s", path);
	return 0;
}
