// SPDX-License-Identifier: MIT
// Many instances at once: a guest or VMM that does not answer keeps only those waiting that the
// same worker has behind it.
#include "life/stats.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "state/instances.h"

#define WORKERS 16

void stats_names_free(struct stats_names *n)
{
	free(n->items);
	*n = (struct stats_names)STATS_NAMES_NONE;
}

static void add_name(struct stats_names *n, const struct address *a)
{
	n->items = base_grow(n->items, n->count + 1, sizeof(*n->items));
	n->items[n->count++] = *a;
}

int stats_names_add(struct stats_names *n, const char *word, struct err *e)
{
	struct address a;

	if (instances_resolve(word, &a, e) < 0)
		return -e->no;
	add_name(n, &a);
	return 0;
}

struct collect {
	struct stats_names *names;
	unsigned damaged;
};

static int collect(void *arg, const struct address *a, const struct instance *i,
		   const struct err *why, struct err *e)
{
	struct collect *c = arg;

	(void)why;
	(void)e;
	if (!i)
		c->damaged++;
	else if (i->role != INSTANCE_ROLE_TEMPLATE)
		add_name(c->names, a);
	return 0;
}

int stats_names_below(struct stats_names *n, const struct address *a, unsigned *damaged,
		      struct err *e)
{
	struct collect c = { .names = n };

	if (instances_each(a->tenant[0] ? a : NULL, collect, &c, e) < 0)
		return -e->no;
	*damaged = c.damaged;
	return 0;
}

void stats_many_free(struct stats_many *m)
{
	if (m->slots)
		(void)munmap(m->slots, m->count * sizeof(*m->slots));
	*m = (struct stats_many)STATS_MANY_NONE;
}

static void read_slot(struct stats_slot *slot, const struct address *a, unsigned want)
{
	struct err e = { 0 };

	if (stats_read(a, want, &slot->stats, &e) < 0)
		slot->error = e;
	else
		slot->error = (struct err){ 0 };
}

static _Noreturn void work(const struct address *all, struct stats_many *m, size_t first,
			   unsigned want)
{
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (size_t i = first; i < m->count; i += WORKERS)
		read_slot(&m->slots[i], &all[i], want);
	_exit(0);
}

static int run_workers(const struct address *all, struct stats_many *m, unsigned want,
		       struct err *e)
{
	size_t n = MIN(m->count, (size_t)WORKERS), started = 0;
	pid_t pids[WORKERS];

	while (started < n && (pids[started] = fork()) >= 0) {
		if (pids[started] == 0)
			work(all, m, started, want);
		started++;
	}
	int no = errno;
	for (size_t i = 0; i < started; i++)
		while (waitpid(pids[i], NULL, 0) < 0 && errno == EINTR)
			;
	errno = no;
	return started < n ? err_sys(e, "fork") : 0;
}

int stats_read_many(const struct address *all, size_t count, unsigned want, struct stats_many *ret,
		    struct err *e)
{
	cleanup_many struct stats_many m = STATS_MANY_NONE;

	if (count == 0) {
		*ret = m;
		return 0;
	}
	m.slots = mmap(NULL, count * sizeof(*m.slots), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (m.slots == MAP_FAILED) {
		m.slots = NULL;
		return err_sys(e, "memory for %zu instances", count);
	}
	m.count = count;
	for (size_t i = 0; i < count; i++) // what a worker does not get to has not been read
		(void)err_kind(&m.slots[i].error, ERR_FAILED, "not read");
	if (count == 1)
		read_slot(&m.slots[0], &all[0], want);
	else if (run_workers(all, &m, want, e) < 0)
		return -e->no;
	*ret = m;
	m = (struct stats_many)STATS_MANY_NONE;
	return 0;
}
