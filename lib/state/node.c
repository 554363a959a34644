// SPDX-License-Identifier: MIT
#include "state/node.h"

#include <sys/random.h>

#include "base/fault.h"
#include "base/fd.h"

#define NODE_ID_FILE "node-id"

static bool is_uuid(const char *s)
{
	for (int i = 0; i < 36; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;
		bool hex = (s[i] >= '0' && s[i] <= '9') || (s[i] >= 'a' && s[i] <= 'f');

		if (dash ? s[i] != '-' : !hex)
			return false;
	}
	return s[36] == '\0';
}

static int load_from(const struct store *s, node_id_text ret, struct err *e)
{
	cleanup_buf struct buf text = BUF_INIT;

	if (fd_read_file(s->dir, NODE_ID_FILE, 64, &text, e) < 0)
		return err_wrap(e, "node");
	if (text.len != 37 || text.data[36] != '\n') {
		err_usage(e, "not one line with a UUID");
		return store_damaged(s, NODE_ID_FILE, e);
	}
	text.data[36] = '\0';
	if (!is_uuid(text.data)) {
		err_usage(e, "not a UUID");
		return store_damaged(s, NODE_ID_FILE, e);
	}
	memcpy(ret, text.data, sizeof(node_id_text));
	return 0;
}

int node_id_load(node_id_text ret, struct err *e)
{
	cleanup_store struct store s = STORE_NONE;

	if (store_open(&s, STORE_NODE, NULL, e) < 0)
		return -e->no;
	return load_from(&s, ret, e);
}

// A random UUID (version 4).
static int mint(node_id_text out, struct err *e)
{
	uint8_t b[16];

	if (getrandom(b, sizeof(b), 0) != (ssize_t)sizeof(b))
		return err_sys(e, "getrandom");
	b[6] = (uint8_t)((b[6] & 0x0F) | 0x40);
	b[8] = (uint8_t)((b[8] & 0x3F) | 0x80);
	return base_fmt(out, sizeof(node_id_text),
			"%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
			b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11],
			b[12], b[13], b[14], b[15]);
}

int node_id_ensure(const struct store *node, int wait_ms, node_id_text ret, struct err *e)
{
	cleanup_store struct store own = STORE_NONE;
	char line[sizeof(node_id_text) + 1];

	if (node ? load_from(node, ret, e) == 0 : node_id_load(ret, e) == 0)
		return 0;
	if (e->kind != ERR_MISSING)
		return -e->no;
	if (!node) {
		if (store_lock(&own, STORE_NODE, NULL, wait_ms, e) < 0)
			return -e->no;
		node = &own;
		if (load_from(node, ret, e) == 0) // another one was faster
			return 0;
		if (e->kind != ERR_MISSING)
			return -e->no;
	}
	err_clear(e);
	if (mint(ret, e) < 0)
		return -e->no;
	(void)snprintf(line, sizeof(line), "%s\n", ret);
	if (fault_point("node-id"))
		return err_sys(e, "write " NODE_ID_FILE);
	if (fd_replace_file(node->dir, NODE_ID_FILE, line, strlen(line), STORE_FILE_MODE, e) < 0)
		return err_wrap(e, "node");
	return 0;
}
