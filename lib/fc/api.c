// SPDX-License-Identifier: MIT
#include "fc/api.h"
#include "base/clock.h"
#include "base/log.h"
#include "fc/curl.h"
#include "sys/jail.h"
#include "json/codec.h"
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#define ANSWER_MAX (1u << 20)

struct api {
	const struct curl_calls *calls;
	CURL *curl;
	struct curl_slist *headers;
	int dir_fd;
	char name[64];
	uint32_t uid;
	int sock;	    // of the connection, libcurl's
	struct err refused; // what check_peer said
};

static curl_socket_t open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	struct api *a = arg;

	(void)purpose;
	(void)address;
	a->sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	return a->sock < 0 ? CURL_SOCKET_BAD : a->sock;
}

// Before the first byte of a request goes out: is it the VM's uid that listens there?
static int check_peer(void *arg, char *peer_ip, char *own_ip, int peer_port, int own_port)
{
	struct api *a = arg;

	(void)peer_ip;
	(void)own_ip;
	(void)peer_port;
	(void)own_port;
	return jail_check_peer(a->sock, a->uid, &a->refused) < 0 ? CURL_PREREQFUNC_ABORT
								 : CURL_PREREQFUNC_OK;
}

static size_t take_answer(char *data, size_t size, size_t count, void *arg)
{
	struct buf *b = arg;

	if (b->len + size * count > ANSWER_MAX)
		return 0;
	buf_add(b, data, size * count);
	return size * count;
}

void api_freep(struct api **a)
{
	if (!*a)
		return;
	if ((*a)->calls) {
		(*a)->calls->finish((*a)->curl);
		(*a)->calls->slist_free_all((*a)->headers);
	}
	base_closep(&(*a)->dir_fd);
	free(*a);
	*a = NULL;
}

// A VMM makes its socket some 10 ms after exec; a sleep of 1 ms between looks costs nothing beside
// that and needs no watch that a hostile folder could flood.
static int wait_socket(struct api *a, int64_t deadline_ms, int dead_fd, struct err *e)
{
	for (;;) {
		struct pollfd dead = { .fd = dead_fd, .events = POLLIN };
		struct err why = { 0 };
		int fd = jail_connect(a->dir_fd, a->name, a->uid, &why);

		if (fd >= 0) {
			(void)close(fd);
			return 0;
		}
		// Root's until the VMM has changed its owner: wait on for that too.
		if (why.no != ENOENT && why.no != ECONNREFUSED && why.kind != ERR_DENIED) {
			*e = why;
			return -e->no;
		}
		if (clock_ms() >= deadline_ms) {
			*e = why;
			e->kind = ERR_TIMEOUT;
			return err_wrap(e, "the VMM's API socket did not come up");
		}
		if (poll(&dead, dead_fd >= 0, 1) > 0)
			return err_kind(e, ERR_FAILED,
					"the VMM ended before its API socket was up");
	}
}

int api_open(int dir_fd, const char *name, uint32_t uid, int64_t deadline_ms, int dead_fd,
	     struct api **ret, struct err *e)
{
	cleanup_api struct api *a = base_alloc(1, sizeof(*a));

	a->uid = uid;
	a->dir_fd = fcntl(dir_fd, F_DUPFD_CLOEXEC, 3);
	if (a->dir_fd < 0)
		return err_sys(e, "duplicate a descriptor");
	if (COPY(a->name, name) < 0)
		return err_set(e, ENAMETOOLONG, "socket name %s", name);
	// while the VMM makes its socket
	if (curl_load(&a->calls, e) < 0 || wait_socket(a, deadline_ms, dead_fd, e) < 0)
		return -e->no;
	a->curl = a->calls->init();
	a->headers = a->calls->slist_append(NULL, "Content-Type: application/json");
	if (!a->curl || !a->headers)
		return err_set(e, ENOMEM, "libcurl");
	*ret = steal_ptr(&a);
	return 0;
}

static void set_options(struct api *a, const char *path, const char *method, const char *url,
			const char *body, int timeout_ms, struct buf *answer)
{
	typeof(a->calls->setopt) set = a->calls->setopt;
	CURL *c = a->curl;

	a->calls->reset(c);
	set(c, CURLOPT_URL, url);
	set(c, CURLOPT_PROTOCOLS_STR, "http");
	set(c, CURLOPT_UNIX_SOCKET_PATH, path);
	set(c, CURLOPT_PROXY, "");
	set(c, CURLOPT_NOSIGNAL, 1L);
	set(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	set(c, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
	set(c, CURLOPT_OPENSOCKETFUNCTION, open_socket);
	set(c, CURLOPT_OPENSOCKETDATA, a);
	set(c, CURLOPT_PREREQFUNCTION, check_peer);
	set(c, CURLOPT_PREREQDATA, a);
	set(c, CURLOPT_CUSTOMREQUEST, method);
	set(c, CURLOPT_WRITEFUNCTION, take_answer);
	set(c, CURLOPT_WRITEDATA, answer);
	if (body) {
		set(c, CURLOPT_HTTPHEADER, a->headers);
		set(c, CURLOPT_POSTFIELDS, body);
	}
}

// What the VMM said, from {"fault_message": "..."} or {"error": "..."}; its text is for people.
static void fault_text(const struct buf *answer, char *out, size_t size)
{
	struct codec_node *tree = NULL;
	const struct codec_node *said = NULL;
	struct err ignored = { 0 };

	if (codec_tree(buf_text(answer), answer->len, &tree, &ignored) == 0) {
		said = codec_get(tree, "fault_message");
		if (!said)
			said = codec_get(tree, "error");
	}
	(void)snprintf(out, size, "%.400s",
		       said && codec_type(said) == CODEC_TEXT ? codec_text(said)
							      : "no reason given");
	log_clean(out);
	codec_tree_free(tree);
}

int api_call(struct api *a, const char *method, const char *path, const char *body, int timeout_ms,
	     struct buf *answer, struct err *e)
{
	cleanup_buf struct buf got = BUF_INIT;
	char url[160], fault[512];
	cleanup_fd int node = -1;
	fd_path socket_path;
	long status = 0;
	CURLcode rc;

	if (base_fmt(url, sizeof(url), "http://localhost%s", path) < 0)
		return err_set(e, ENAMETOOLONG, "API path %s", path);
	// This very socket is connected to, whatever the folder's owner puts at its name meanwhile.
	node = jail_open_socket(a->dir_fd, a->name, a->uid, e);
	if (node < 0)
		return err_wrap(e, "%s %s", method, path);
	jail_fd_path(node, socket_path);
	a->refused = (struct err){ 0 };
	set_options(a, socket_path, method, url, body, timeout_ms, &got);
	rc = a->calls->perform(a->curl);
	if (a->refused.no) {
		*e = a->refused;
		return err_wrap(e, "%s %s", method, path);
	}
	if (rc == CURLE_OPERATION_TIMEDOUT)
		return err_kind(e, ERR_TIMEOUT, "%s %s: no answer within %d ms", method, path,
				timeout_ms);
	if (rc != CURLE_OK)
		return err_kind(e, ERR_FAILED, "%s %s: %s", method, path, a->calls->strerror(rc));
	a->calls->getinfo(a->curl, CURLINFO_RESPONSE_CODE, &status);
	if (status < 200 || status > 299) {
		fault_text(&got, fault, sizeof(fault));
		return err_kind(e, ERR_FAILED, "%s %s: status %ld: %s", method, path, status,
				fault);
	}
	if (answer)
		buf_add(answer, buf_text(&got), got.len);
	return 0;
}
