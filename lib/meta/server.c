// SPDX-License-Identifier: MIT
#include "meta/server.h"

#include <arpa/inet.h>
#include <microhttpd.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/sig.h"
#include "meta/document.h"
#include "meta/request.h"

#define PER_ADDRESS    8u
#define IDLE_S	       5u
#define LIFE_MS	       10000 // of a connection, however busy it seems
#define CONNECTION_MEM ((size_t)16 * 1024)
#define BODY_MAX       1024u // of a PUT, read and forgotten
#define TICK_MS	       500
#define COMPLAIN_MS    10000 // between two lines about documents: guests decide how often they ask

struct visitor {
	struct MHD_Connection *connection; // NULL: free
	int64_t since_ms;
};

struct server {
	struct MHD_Daemon *http;
	struct loop *loop;
	struct meta_service service;
	struct visitor visitors[SERVER_CONNECTIONS];
	int listen_fd, dir, signals;
	ifname_text bridge;
	unsigned ifindex;
	int64_t complained_ms;
	bool stop;
};

struct exchange { // one request, from its first line to its answer
	size_t body;
};

static int read_document(void *arg, uint32_t ip, struct buf *out, struct err *e)
{
	const struct server *s = arg;
	const struct subnet here = { .base = ip };
	char name[32];
	ip_text text;

	subnet_ip(&here, 0, text);
	meta_document_name(text, name);
	return fd_read_file(s->dir, name, META_DOCUMENT_MAX, out, e);
}

static const char *header(struct MHD_Connection *c, const char *name)
{
	return MHD_lookup_connection_value(c, MHD_HEADER_KIND, name);
}

static const char *either(struct MHD_Connection *c, const char *name, const char *other)
{
	const char *value = header(c, name);

	return value ? value : header(c, other);
}

static uint32_t who(struct MHD_Connection *c)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(c, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	struct sockaddr_in in;

	if (!info || !info->client_addr || info->client_addr->sa_family != AF_INET)
		return 0;
	memcpy(&in, info->client_addr, sizeof(in));
	return ntohl(in.sin_addr.s_addr);
}

// One request, then the connection ends: what a guest can hold is then one timer away from its end.
static enum MHD_Result send_answer(struct MHD_Connection *c, struct meta_answer *a)
{
	const size_t len = a->body.len;
	struct MHD_Response *r =
		MHD_create_response_from_buffer(len, buf_steal(&a->body), MHD_RESPMEM_MUST_FREE);
	char ttl[24];
	enum MHD_Result done;

	if (!r)
		return MHD_NO;
	(void)MHD_add_response_header(r, "Connection", "close");
	(void)MHD_add_response_header(r, "Server", "mvm-metad");
	(void)MHD_add_response_header(r, "Cache-Control", "no-store");
	(void)MHD_add_response_header(r, "Content-Type", a->type);
	if (a->allow)
		(void)MHD_add_response_header(r, "Allow", a->allow);
	if (a->ttl_s) {
		base_cut(ttl, sizeof(ttl), "%llu", (unsigned long long)a->ttl_s);
		(void)MHD_add_response_header(r, "X-metadata-token-ttl-seconds", ttl);
	}
	done = MHD_queue_response(c, a->status, r);
	MHD_destroy_response(r);
	return done;
}

static enum MHD_Result refuse(struct MHD_Connection *c, unsigned status)
{
	struct meta_answer a = { .status = status, .type = "text/plain; charset=utf-8" };

	return send_answer(c, &a);
}

static enum MHD_Result answer(struct server *s, struct MHD_Connection *c, const char *url,
			      const char *method, const char *version)
{
	const struct meta_request q = {
		.method = method,
		.path = url,
		.version = version,
		.token = either(c, "X-metadata-token", "X-aws-ec2-metadata-token"),
		.ttl = either(c, "X-metadata-token-ttl-seconds",
			      "X-aws-ec2-metadata-token-ttl-seconds"),
		.accept = header(c, "Accept"),
		.forwarded = header(c, "X-Forwarded-For") != NULL,
		.ip = who(c),
	};
	struct meta_answer a;

	meta_answer(&s->service, &q, (uint64_t)clock_ms(), &a);
	if (a.status == 500 && clock_ms() >= s->complained_ms + COMPLAIN_MS) {
		s->complained_ms = clock_ms();
		log_error(s->bridge, "%s", a.why.msg);
	}
	return send_answer(c, &a);
}

// A body has no meaning here: a PUT's is read and forgotten, any other is refused.
static bool body_allowed(struct MHD_Connection *c, const char *method)
{
	const char *length = header(c, "Content-Length");

	return str_eq(method, "PUT") ||
	       (!header(c, "Transfer-Encoding") && (!length || str_eq(length, "0")));
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *c, const char *url,
				  const char *method, const char *version, const char *data,
				  size_t *len, void **state)
{
	struct exchange *x = *state;

	(void)data;
	if (!x) {
		*state = base_alloc(1, sizeof(*x));
		return body_allowed(c, method) ? MHD_YES : refuse(c, 400);
	}
	if (*len > 0) {
		x->body += *len;
		*len = 0;
		return x->body > BODY_MAX ? MHD_NO : MHD_YES;
	}
	return answer(arg, c, url, method, version);
}

static void on_done(void *arg, struct MHD_Connection *c, void **state,
		    enum MHD_RequestTerminationCode why)
{
	(void)arg;
	(void)c;
	(void)why;
	free(*state);
	*state = NULL;
}

static void on_connection(void *arg, struct MHD_Connection *c, void **state,
			  enum MHD_ConnectionNotificationCode what)
{
	struct server *s = arg;
	struct visitor *v = *state;

	if (what == MHD_CONNECTION_NOTIFY_CLOSED && v) {
		v->connection = NULL;
		return;
	}
	for (v = s->visitors; v < s->visitors + SERVER_CONNECTIONS; v++)
		if (!v->connection) {
			*v = (struct visitor){ c, clock_ms() };
			*state = v;
			return;
		}
}

// The path is decoded by request.h, which is strict; here nothing is touched.
static size_t keep_escapes(void *arg, struct MHD_Connection *c, char *text)
{
	(void)arg;
	(void)c;
	return strlen(text);
}

// libmicrohttpd's own limit is one of silence: a byte now and then would hold a connection for
// ever.
static void end_old_ones(struct server *s)
{
	int64_t now = clock_ms();

	for (struct visitor *v = s->visitors; v < s->visitors + SERVER_CONNECTIONS; v++) {
		const union MHD_ConnectionInfo *info;

		if (!v->connection || now < v->since_ms + LIFE_MS)
			continue;
		info = MHD_get_connection_info(v->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
		if (info)
			(void)shutdown(info->connect_fd, SHUT_RDWR);
	}
}

static bool bridge_is_there(const struct server *s)
{
	struct ifreq r = { 0 };

	memcpy(r.ifr_name, s->bridge, sizeof(s->bridge));
	return ioctl(s->listen_fd, SIOCGIFINDEX, &r) == 0 && (unsigned)r.ifr_ifindex == s->ifindex;
}

static void on_http(void *arg, uint32_t events)
{
	(void)arg; // MHD_run follows every round of the loop
	(void)events;
}

static void on_signal(void *arg, uint32_t events)
{
	struct server *s = arg;

	(void)events;
	s->stop = s->stop || sig_read(s->signals) != 0;
}

static int start_http(struct server *s, struct err *e)
{
	const union MHD_DaemonInfo *info;

	s->http = MHD_start_daemon(
		MHD_USE_EPOLL, 0, NULL, NULL, on_request, s, MHD_OPTION_LISTEN_SOCKET, s->listen_fd,
		MHD_OPTION_CONNECTION_LIMIT, SERVER_CONNECTIONS, MHD_OPTION_PER_IP_CONNECTION_LIMIT,
		PER_ADDRESS, MHD_OPTION_CONNECTION_TIMEOUT, IDLE_S,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_MEM, MHD_OPTION_STRICT_FOR_CLIENT, 1,
		MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes,
		NULL, MHD_OPTION_NOTIFY_COMPLETED, on_done, NULL, MHD_OPTION_NOTIFY_CONNECTION,
		on_connection, s, MHD_OPTION_END);
	if (!s->http)
		return err_kind(e, ERR_FAILED, "libmicrohttpd does not start");
	info = MHD_get_daemon_info(s->http, MHD_DAEMON_INFO_EPOLL_FD);
	if (!info)
		return err_kind(e, ERR_FAILED, "libmicrohttpd has no epoll here");
	return loop_add_fd(s->loop, info->epoll_fd, EPOLLIN, on_http, s, NULL, e);
}

int server_new(int listen_fd, int dir, const char *bridge, unsigned ifindex, struct server **ret,
	       struct err *e)
{
	cleanup_server struct server *s = base_alloc(1, sizeof(*s));
	meta_token token;

	s->listen_fd = listen_fd;
	s->dir = dir;
	s->ifindex = ifindex;
	s->complained_ms = -COMPLAIN_MS;
	s->service.read = read_document;
	s->service.arg = s;
	s->signals = sig_open(e, SIGTERM, SIGINT, 0);
	base_cut(s->bridge, sizeof(s->bridge), "%s", bridge); // a formula's name
	if (s->signals < 0 || meta_key_draw(&s->service.key, e) < 0 || loop_new(&s->loop, e) < 0 ||
	    loop_add_fd(s->loop, s->signals, EPOLLIN, on_signal, s, NULL, e) < 0 ||
	    start_http(s, e) < 0)
		return -e->no;
	// libcrypto opens its files at the first use, which has to be before the confinement
	meta_token_make(&s->service.key, 0, 0, token);
	*ret = steal_ptr(&s);
	return 0;
}

// libmicrohttpd may have more to do at once, which its epoll does not tell.
static int next_wait(struct server *s)
{
	MHD_UNSIGNED_LONG_LONG wait = TICK_MS;

	if (MHD_get_timeout(s->http, &wait) != MHD_YES)
		wait = TICK_MS;
	return (int)MIN(wait, TICK_MS);
}

int server_run(struct server *s, struct err *e)
{
	int64_t tick = clock_ms();

	while (!s->stop) {
		if (loop_once(s->loop, next_wait(s), e) < 0)
			return -e->no;
		if (MHD_run(s->http) != MHD_YES)
			return err_kind(e, ERR_FAILED, "libmicrohttpd does not go on");
		if (clock_ms() < tick)
			continue;
		tick = clock_ms() + TICK_MS;
		end_old_ones(s);
		if (!bridge_is_there(s))
			return err_kind(e, ERR_FAILED, "%s is gone, or another one by now",
					s->bridge);
	}
	return 0;
}

void server_freep(struct server **s)
{
	struct server *p = *s;

	if (!p)
		return;
	if (p->http)
		MHD_stop_daemon(p->http);
	if (p->loop)
		loop_free(p->loop);
	if (p->signals >= 0)
		(void)close(p->signals);
	free(p);
}
