// SPDX-License-Identifier: MIT
#include "fc/vmlog.h"

#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <strings.h>
#include <time.h>

#include "base/buf.h"
#include "base/log.h"
#include "fc/resolve.h"

static const char *const level_names[] = { "OFF", "ERROR", "WARN", "INFO", "DEBUG", "TRACE" };

bool vmlog_level_of(const char *name, enum vmlog_level *ret)
{
	if (strcasecmp(name, "warning") == 0) {
		*ret = VMLOG_WARN;
		return true;
	}
	for (size_t i = 0; i < COUNT(level_names); i++) {
		if (strcasecmp(name, level_names[i]) != 0)
			continue;
		*ret = (enum vmlog_level)i;
		return true;
	}
	return false;
}

static void head(const struct vmlog *l, enum vmlog_level level, const char *module,
		 const char *file, int line, struct buf *out)
{
	struct timespec now;
	struct tm t;
	char text[32];

	(void)clock_gettime(CLOCK_REALTIME, &now);
	(void)localtime_r(&now.tv_sec, &t);
	(void)strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &t);
	buf_fmt(out, "%s.%09ld [%s:%s", text, now.tv_nsec, l->id,
		str_eq(module, VMLOG_API) ? "fc_api" : "main");
	if (l->show_level)
		buf_fmt(out, ":%s", level_names[level]);
	if (l->show_origin)
		buf_fmt(out, ":%s:%d", file, line);
	buf_str(out, "] ");
}

void vmlog_line(struct vmlog *l, enum vmlog_level level, const char *module, const char *file,
		int line, const char *fmt, ...)
{
	struct pollfd p = { .fd = l->fd < 0 ? STDOUT_FILENO : l->fd, .events = POLLOUT };
	cleanup_buf struct buf out = BUF_INIT;
	cleanup_free char *text = NULL;
	va_list ap;

	if (level > l->level || (l->module && !str_starts(module, l->module)))
		return;
	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		text = NULL;
	va_end(ap);
	if (!text)
		return;
	log_clean(text);
	head(l, level, module, file, line, &out);
	buf_str(&out, text);
	buf_char(&out, '\n');
	// stdout is shared with others and therefore not made non-blocking.
	if (poll(&p, 1, 0) != 1 || !(p.revents & POLLOUT) ||
	    write(p.fd, out.data, out.len) != (ssize_t)out.len)
		l->missed++;
}

int vmlog_configure(struct vmlog *l, int root_fd, const struct fc_logger *c, struct err *e)
{
	enum vmlog_level level = VMLOG_INFO;
	int fd;

	if (c->level && !vmlog_level_of(c->level, &level))
		return err_usage(e, "Invalid LevelFilter: %.32s", c->level);
	if (c->log_path) {
		// For reading as well: a pipe without a reader can be opened then.
		fd = qemu_resolve(root_fd, c->log_path, O_RDWR | O_CREAT | O_APPEND, e);
		if (fd < 0)
			return err_wrap(e, "Failed to open target file");
		if (l->fd >= 0)
			(void)close(l->fd);
		l->fd = fd;
	}
	l->level = level;
	l->show_level = c->show_level;
	l->show_origin = c->show_log_origin;
	if (c->module) {
		free(l->module);
		l->module = base_strdup(c->module);
	}
	return 0;
}

void vmlog_clear(struct vmlog *l)
{
	if (l->fd >= 0)
		(void)close(l->fd);
	free(l->module);
	l->fd = -1;
	l->module = NULL;
}
