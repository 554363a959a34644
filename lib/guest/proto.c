// SPDX-License-Identifier: MIT
#include "guest/proto.h"

#include <assert.h>
#include <endian.h>

#include "guest/wire.h"

static const struct {
	const char *name;
	uint32_t max; // longest payload
} types[] = {
	[GUEST_HELLO] = { "hello", 256 },
	[GUEST_WELCOME] = { "welcome", GUEST_FRAME_MAX },
	[GUEST_READY] = { "ready", 512 },
	[GUEST_ERROR] = { "error", 1024 },
	[GUEST_OK] = { "ok", 0 },
	[GUEST_HEALTH] = { "health", 512 },
	[GUEST_SHUTDOWN] = { "shutdown", 512 },
	[GUEST_LOGS] = { "logs", 64 },
	[GUEST_EXEC] = { "exec", GUEST_FRAME_MAX },
	[GUEST_STARTED] = { "started", 4 },
	[GUEST_DATA] = { "data", GUEST_DATA_MAX },
	[GUEST_WINDOW_ADD] = { "window", 4 },
	[GUEST_EOF] = { "eof", 0 },
	[GUEST_SIGNAL] = { "signal", 4 },
	[GUEST_EXIT] = { "exit", 4 },
	[GUEST_TERMINAL] = { "terminal", 4 },
	[GUEST_SESSION_START] = { "session start", GUEST_FRAME_MAX },
	[GUEST_ATTACH] = { "attach", 64 },
	[GUEST_SESSION] = { "session", 49152 },
	[GUEST_SESSIONS] = { "sessions", 0 },
	[GUEST_SESSION_SIGNAL] = { "session signal", 64 },
	[GUEST_INPUT_TAKEN] = { "input taken", 0 },
	[GUEST_SKIPPED] = { "skipped", 8 },
	[GUEST_PUT] = { "put", 2048 },
	[GUEST_GET] = { "get", 2048 },
	[GUEST_FORWARD] = { "forward", 6 },
	[GUEST_SLEEP] = { "sleep", 256 },
	[GUEST_REPAIR] = { "repair", 256 },
	[GUEST_THAW] = { "thaw", 256 },
	[GUEST_HOOK_DONE] = { "hook done", 20480 },
	[GUEST_SECRETS_CHANGED] = { "secrets changed", 32 },
	[GUEST_CONFIG_CHANGED] = { "config changed", 32 },
};

const char *guest_type_name(uint8_t type)
{
	return type < COUNT(types) && types[type].name ? types[type].name : "unknown";
}

void guest_head_put(const struct guest_head *h, uint8_t out[GUEST_HEADER])
{
	uint32_t len = htole32(h->len);
	uint16_t stream = htole16(h->stream);

	memcpy(out, &len, 4);
	out[4] = h->type;
	out[5] = 0;
	memcpy(out + 6, &stream, 2);
}

int guest_head_get(const uint8_t in[GUEST_HEADER], struct guest_head *out, struct err *e)
{
	struct guest_head h = { 0 };

	memcpy(&h.len, in, 4);
	memcpy(&h.stream, in + 6, 2);
	h.len = le32toh(h.len);
	h.stream = le16toh(h.stream);
	h.type = in[4];
	if (in[5] != 0 || h.stream >= GUEST_STREAMS)
		return err_kind(e, ERR_FAILED, "frame with reserved bits");
	if (h.type >= COUNT(types) || !types[h.type].name)
		return err_kind(e, ERR_FAILED, "frame of unknown type %u", h.type);
	if (h.len > types[h.type].max)
		return err_kind(e, ERR_FAILED, "%s frame of %u bytes", types[h.type].name, h.len);
	*out = h;
	return 0;
}

void guest_frame_put(struct buf *b, enum guest_type type, uint16_t stream, const void *p,
		     size_t len)
{
	struct guest_head h = { (uint32_t)len, (uint8_t)type, stream };
	uint8_t head[GUEST_HEADER];

	assert(len <= types[type].max);
	guest_head_put(&h, head);
	buf_add(b, head, sizeof(head));
	if (len)
		buf_add(b, p, len);
}

size_t guest_frame_begin(struct buf *b, enum guest_type type, uint16_t stream)
{
	size_t mark = b->len;

	guest_frame_put(b, type, stream, NULL, 0);
	return mark;
}

void guest_frame_end(struct buf *b, size_t mark)
{
	size_t len = b->len - mark - GUEST_HEADER;
	uint32_t wire = htole32((uint32_t)len);

	assert(len <= types[(uint8_t)b->data[mark + 4]].max);
	memcpy(b->data + mark, &wire, 4);
}

int guest_words_add(struct guest_words *w, const char *word, struct err *e)
{
	if (w->count >= GUEST_WORDS)
		return err_kind(e, ERR_USAGE, "more than %u words", GUEST_WORDS);
	// Three lists fit into one message, with their lengths and its other fields.
	if (w->text.len + strlen(word) + 4 * ((size_t)w->count + 1) > GUEST_WORDS_SIZE)
		return err_kind(e, ERR_USAGE, "words of more than %u bytes together",
				GUEST_WORDS_SIZE);
	buf_add(&w->text, word, strlen(word) + 1);
	w->count++;
	return 0;
}

const char *guest_words_at(const struct guest_words *w, uint32_t i)
{
	const char *p = w->text.data;

	if (i >= w->count)
		return NULL;
	while (i-- > 0)
		p += strlen(p) + 1;
	return p;
}

char **guest_words_vector(const struct guest_words *w)
{
	char **v = base_alloc(w->count + 1, sizeof(*v));
	char *p = w->text.data;

	for (uint32_t i = 0; i < w->count; i++) {
		v[i] = p;
		p += strlen(p) + 1;
	}
	return v;
}

void guest_words_clear(struct guest_words *w)
{
	buf_free(&w->text);
	w->count = 0;
}

void guest_error_from(const struct err *e, struct guest_error *out)
{
	*out = (struct guest_error){ .kind = (uint32_t)e->kind, .no = (uint32_t)e->no };
	// Cut at the end: the first words say what was being done.
	memcpy(out->msg, e->msg, MIN(strnlen(e->msg, sizeof(e->msg)), sizeof(out->msg) - 1));
}

int guest_error_to(const struct guest_error *in, struct err *e)
{
	err_kind(e, in->kind < ERR_KINDS ? (enum err_kind)in->kind : ERR_FAILED, "%s", in->msg);
	if (in->no > 0 && in->no < 4096)
		e->no = (int)in->no;
	return -e->no;
}

int guest_hello_agree(const struct guest_hello *peer, uint16_t *ret_version, struct err *e)
{
	if (peer->version_min > GUEST_VERSION || peer->version_max < GUEST_VERSION)
		return err_kind(e, ERR_CONFLICT,
				"the peer (%s) speaks protocol %u to %u, this side %u", peer->agent,
				peer->version_min, peer->version_max, GUEST_VERSION);
	*ret_version = GUEST_VERSION;
	return 0;
}
