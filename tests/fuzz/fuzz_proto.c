// SPDX-License-Identifier: MIT
// Payloads of the guest protocol: the first byte picks the message. What is taken must come back
// byte for byte.
#include "guest/hook.h"
#include "guest/proto.h"
#include "guest/session.h"
#include "guest/transfer.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ROUND(type, name)                                                      \
	static void name##_round(const uint8_t *p, size_t len)                 \
	{                                                                      \
		cleanup_buf struct buf b = BUF_INIT;                           \
		struct err e = { 0 };                                          \
		struct type out;                                               \
                                                                               \
		if (name##_get(p, len, &out, &e) < 0) {                        \
			assert(e.no &&e.msg[0]);                               \
			return;                                                \
		}                                                              \
		name##_put(&b, &out);                                          \
		assert(b.len == len && (!len || memcmp(b.data, p, len) == 0)); \
		name##_done(&out);                                             \
	}

static void guest_welcome_done(struct guest_welcome *w)
{
	guest_welcome_clear(w);
}

static void guest_exec_done(struct guest_exec *x)
{
	guest_exec_clear(x);
}

static void guest_session_start_done(struct guest_session_start *s)
{
	guest_session_start_clear(s);
}

static void guest_session_done(struct guest_session *s)
{
	assert(guest_session_name_ok(s->name));
	guest_session_clear(s);
}

#define guest_hello_done(x)  ((void)(x))
#define guest_info_done(x)   ((void)(x))
#define guest_health_done(x) ((void)(x))
#define guest_down_done(x)   ((void)(x))
#define guest_logs_done(x)   ((void)(x))
#define guest_error_done(x)  ((void)(x))
ROUND(guest_hello, guest_hello)
ROUND(guest_welcome, guest_welcome)
ROUND(guest_info, guest_info)
ROUND(guest_health, guest_health)
ROUND(guest_exec, guest_exec)
ROUND(guest_down, guest_down)
ROUND(guest_logs, guest_logs)
ROUND(guest_error, guest_error)
#define guest_size_done(x)	     ((void)(x))
#define guest_attach_done(x)	     ((void)(x))
#define guest_session_signal_done(x) ((void)(x))
ROUND(guest_size, guest_size)
ROUND(guest_session_start, guest_session_start)
ROUND(guest_attach, guest_attach)
ROUND(guest_session, guest_session)
ROUND(guest_session_signal, guest_session_signal)

#define guest_hook_done(x)	 ((void)(x))
#define guest_hook_done_done(x)	 guest_hook_done_clear(x)
#define guest_files_done(x)	 ((void)(x))
#define guest_files_done_done(x) ((void)(x))
#define guest_forward_done(x)	 ((void)(x))
ROUND(guest_hook, guest_hook)
ROUND(guest_hook_done, guest_hook_done)
ROUND(guest_files, guest_files)
ROUND(guest_files_done, guest_files_done)
ROUND(guest_forward, guest_forward)

static void head_round(const uint8_t *p, size_t len)
{
	uint8_t again[GUEST_HEADER];
	struct guest_head h;
	struct err e = { 0 };

	if (len < GUEST_HEADER || guest_head_get(p, &h, &e) < 0)
		return;
	guest_head_put(&h, again);
	assert(memcmp(again, p, GUEST_HEADER) == 0 && h.len <= GUEST_FRAME_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const rounds[])(const uint8_t *p, size_t len) = {
		guest_hello_round,     guest_welcome_round,	   guest_info_round,
		guest_health_round,    guest_exec_round,	   guest_down_round,
		guest_logs_round,      guest_error_round,	   head_round,
		guest_size_round,      guest_session_start_round,  guest_attach_round,
		guest_session_round,   guest_session_signal_round, guest_hook_round,
		guest_hook_done_round, guest_files_round,	   guest_files_done_round,
		guest_forward_round,
	};

	if (size)
		rounds[data[0] % COUNT(rounds)](data + 1, size - 1);
	return 0;
}
