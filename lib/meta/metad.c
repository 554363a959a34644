// SPDX-License-Identifier: MIT
#include "meta/metad.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/proc.h"
#include "meta/confine.h"
#include "meta/document.h"
#include "meta/metad_record.h"
#include "meta/server.h"
#include "state/tenant.h"
#include "sys/sandbox.h"

#define BACKLOG 128

struct run {
	int parent, dir, lock, socket;
	struct tenant tenant;
	struct confine_user user;
	struct metad_record record;
};

static void close_all(struct run *r)
{
	base_closep(&r->socket);
	base_closep(&r->lock);
	base_closep(&r->dir);
	base_closep(&r->parent);
}

// Root reads everything; another user must be of the group that the documents have.
static int check_user(const struct run *r, const char *user, struct err *e)
{
	struct stat st;

	if (fstat(r->dir, &st) < 0)
		return err_sys(e, "stat the documents");
	if (r->user.uid == st.st_uid || r->user.gid == st.st_gid)
		return 0;
	(void)err_kind(e, ERR_FAILED,
		       "user '%.40s' is not of the group %u that may read the documents", user,
		       st.st_gid);
	return err_hint(e, "where the group %s is missing only --user root can serve", META_GROUP);
}

static int bind_bridge(const struct run *r, struct err *e)
{
	const char *bridge = r->tenant.net.bridge_name;

	if (setsockopt(r->socket, SOL_SOCKET, SO_BINDTODEVICE, bridge,
		       (socklen_t)strlen(bridge) + 1) == 0)
		return 0;
	// The address alone binds it as well, and the tenant's rules keep others away from that.
	if (errno == EPERM)
		return 0;
	return err_sys(e, "bind to %s", bridge);
}

static int open_socket(struct run *r, struct err *e)
{
	const struct tenant_net *net = &r->tenant.net;
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(METAD_PORT) };
	int on = 1;

	r->record.ifindex = if_nametoindex(net->bridge_name);
	if (!r->record.ifindex) {
		(void)err_kind(e, ERR_STATE, "the tenant has no bridge %s here", net->bridge_name);
		return err_hint(e, "run 'mvm-bridge ensure %s'", r->tenant.tenant_id);
	}
	at.sin_addr.s_addr = htonl(r->tenant.subnet.base + OFFSET_GATEWAY);
	r->socket = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (r->socket < 0)
		return err_sys(e, "socket");
	if (setsockopt(r->socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
		return err_sys(e, "reuse the address");
	if (bind_bridge(r, e) < 0)
		return -e->no;
	if (bind(r->socket, (const struct sockaddr *)&at, sizeof(at)) < 0 ||
	    listen(r->socket, BACKLOG) < 0)
		return err_sys(e, "listen on %s:%d", net->gateway_ip, METAD_PORT);
	return 0;
}

static int take_lock(struct run *r, const char *tenant, struct err *e)
{
	char name[80];

	metad_lock_name(tenant, name);
	r->lock = fd_lock(r->parent, name, true, 0, e);
	if (r->lock < 0)
		return err_wrap(e, "%s: a metadata server runs already", tenant);
	if (proc_id_get(getpid(), &r->record.id, e) < 0)
		return -e->no;
	return metad_record_write(r->lock, &r->record, e);
}

static int open_all(struct run *r, const struct metad *m, struct err *e)
{
	if (tenant_load(m->tenant, &r->tenant, e) < 0 ||
	    confine_user_find(m->user, &r->user, e) < 0)
		return -e->no;
	r->dir = meta_dir_open(m->tenant, true, &r->parent, e);
	if (r->dir < 0 || check_user(r, m->user, e) < 0 || take_lock(r, m->tenant, e) < 0)
		return -e->no;
	return open_socket(r, e);
}

// From here on nothing can be opened but documents, so READY is told before the last lock falls;
// what follows it can fail only for a kernel without filters.
static int confine(struct run *r, struct err *e)
{
	void *filter = NULL;

	if (confine_drop(&r->user, r->dir, SERVER_FILES, e) < 0 ||
	    confine_filter_make(&filter, e) < 0)
		return err_wrap(e, "give up rights");
	if (log_notify("READY=1", e) < 0) {
		sandbox_filter_free(filter);
		e->kind = ERR_FAILED;
		return err_wrap(e, "tell that it serves");
	}
	return sandbox_filter_load(filter, e);
}

static int serve(struct run *r, int told, struct err *e)
{
	cleanup_server struct server *s = NULL;
	const struct tenant_net *net = &r->tenant.net;

	if (server_new(r->socket, r->dir, net->bridge_name, r->record.ifindex, &s, e) < 0 ||
	    confine(r, e) < 0)
		return -e->no;
	r->record.ready = true;
	if (metad_record_write(r->lock, &r->record, e) < 0)
		return -e->no;
	log_info(r->tenant.tenant_id, "serving on %s:%d", net->gateway_ip, METAD_PORT);
	if (told >= 0) {
		(void)!write(told, "R", 1); // who waits for it may have gone
		(void)close(told);
	}
	return server_run(s, e);
}

int metad_run(const struct metad *m, int told, struct err *e)
{
	struct run r = { .parent = -1, .dir = -1, .lock = -1, .socket = -1 };
	int result = open_all(&r, m, e);

	if (result == 0)
		result = serve(&r, told, e);
	close_all(&r);
	return result;
}
