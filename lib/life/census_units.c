// SPDX-License-Identifier: MIT
// The census of what others list for us: mvm-bridge the network's objects, systemd its units.
#include "base/proc.h"
#include "life/census_impl.h"

#define TOOL_MS	    30000
#define UNIT_PREFIX "mvm-instance@"
#define UNIT_SUFFIX ".service"
#define UNITS	    "mvm-instance@*.service"
#define CONTROL_DIR "/run/systemd/system.control"

#define cleanup_node cleanup(free_node)
static void free_node(struct codec_node **n)
{
	codec_tree_free(*n);
}

static const char *text_of(const struct codec_node *row, const char *key)
{
	const struct codec_node *n = codec_get(row, key);

	return n && codec_type(n) == CODEC_TEXT ? codec_text(n) : "";
}

static void judge_tenant(const struct census *c, struct census_row *r, const struct address *a,
			 uint32_t net_id)
{
	const struct census_tenant *t = a->pool[0] ? NULL : census_tenant(c, a->tenant);

	if (!t)
		census_stray(r, "no such tenant");
	else if (!t->net_id)
		census_own(r, "the tenant's record is damaged");
	else if (t->net_id != net_id)
		census_stray(r, "the tenant's network has another number");
	else
		census_own(r, "of a tenant");
}

static void judge_tap(const struct census *c, struct census_row *r, const struct address *a,
		      uint32_t uid)
{
	const struct census_want *w = a->instance[0] ? census_by_address(c, a) : NULL;
	uint32_t net_id = 0, offset;

	if (!a->pool[0] && name_is_tap(r->name, &net_id, &offset)) { // in store
		judge_tenant(c, r, a, net_id);
		return;
	}
	census_judge_live(r, w);
	if (w && r->owned && !w->damaged && w->uid != uid)
		census_stray(r, "the instance has another TAP");
}

static void take_net(struct census *c, const struct codec_node *row)
{
	const char *node = text_of(row, "node_id"), *kind = text_of(row, "kind");
	const char *name = text_of(row, "name");
	enum census_kind k = str_eq(kind, "tap")      ? CENSUS_TAP
			     : str_eq(kind, "bridge") ? CENSUS_BRIDGE
						      : CENSUS_TABLE;
	uint32_t net_id = 0, offset = 0;
	struct address a = { 0 };
	struct err why = { 0 };
	bool told = address_parse(text_of(row, "address"), ADDRESS_TENANT, ADDRESS_INSTANCE, &a,
				  &why) == 0;
	struct census_row *r = census_add(c, k, name, told ? &a : NULL);

	if (!told)
		census_stray(r, "it does not say whose it is");
	else if (!str_eq(node, c->node_id))
		census_foreign(r, node);
	else if (k == CENSUS_TAP && name_is_tap(name, &net_id, &offset))
		judge_tap(c, r, &a, name_uid(net_id, offset));
	else if (name_is_bridge(name, &net_id) || name_is_table(name, &net_id))
		judge_tenant(c, r, &a, net_id);
}

int census_net(struct census *c, struct err *e)
{
	static const char *const argv[] = { "mvm-bridge", "list", NULL };
	cleanup_node struct codec_node *rows = NULL;
	cleanup_buf struct buf text = BUF_INIT;

	if (proc_tool(argv, NULL, &text, TOOL_MS, e) < 0)
		return -e->no;
	if (codec_tree(buf_text(&text), text.len, &rows, e) < 0)
		return err_wrap(e, "mvm-bridge list");
	for (const struct codec_node *n = codec_child(rows); n; n = codec_next(n))
		take_net(c, n);
	return 0;
}

// The address in the name of a unit or of its property directory; false when it is none of ours.
static bool unit_address(const char *unit, struct address *out)
{
	const char *escaped = unit + strlen(UNIT_PREFIX);
	size_t len = strlen(unit);
	char name[256], address[256];
	struct err why = { 0 };

	if (!str_starts(unit, UNIT_PREFIX) || !str_ends(unit, UNIT_SUFFIX) || len >= sizeof(name))
		return false;
	len -= strlen(UNIT_PREFIX) + strlen(UNIT_SUFFIX);
	memcpy(name, escaped, len);
	name[len] = '\0';
	return name_unescape(name, address, sizeof(address), &why) == 0 &&
	       address_parse(address, ADDRESS_INSTANCE, ADDRESS_INSTANCE, out, &why) == 0;
}

static void take_unit(struct census *c, const struct codec_node *row)
{
	const char *unit = text_of(row, "unit"), *active = text_of(row, "active");
	const struct census_want *w;
	struct census_row *r;
	struct address a;

	if (!unit_address(unit, &a)) {
		census_stray(census_add(c, CENSUS_UNIT, unit, NULL), "its name is no address");
		return;
	}
	w = census_by_address(c, &a);
	r = census_add(c, CENSUS_UNIT, unit, &a);
	if (str_eq(active, "inactive") || str_eq(active, "failed"))
		census_judge_record(r, w); // systemd only remembers how it ended
	else
		census_judge_live(r, w);
}

static int take_units(struct census *c, struct err *e)
{
	static const char *const argv[] = { "systemctl",  "list-units", "--all", "--output=json",
					    "--no-pager", UNITS,	NULL };
	cleanup_proc_result struct proc_result r = { 0 };
	cleanup_node struct codec_node *rows = NULL;

	if (proc_capture(argv, NULL, CODEC_MAX, TOOL_MS, &r, e) < 0)
		return err_wrap(e, "systemctl list-units");
	if (r.status != 0)
		return err_set(e, EIO, "systemctl list-units: %s", r.last_line);
	if (codec_tree(buf_text(&r.out), r.out.len, &rows, e) < 0)
		return err_wrap(e, "systemctl list-units");
	for (const struct codec_node *n = codec_child(rows); n; n = codec_next(n))
		take_unit(c, n);
	return 0;
}

static int take_property(struct census *c, int dir, const char *path, const char *name,
			 struct err *e)
{
	char unit[256];
	struct address a;
	path_text full;

	(void)dir;
	(void)e;
	if (!str_starts(name, UNIT_PREFIX) || !str_ends(name, ".d") || COPY(unit, name) < 0)
		return 0;
	unit[strlen(unit) - 2] = '\0';
	path_join(full, path, name);
	if (unit_address(unit, &a))
		census_judge_record(census_add(c, CENSUS_PROPERTY, full, &a),
				    census_by_address(c, &a));
	else
		census_stray(census_add(c, CENSUS_PROPERTY, full, NULL), "its name is no address");
	return 0;
}

// Units serve the default places only.
int census_units(struct census *c, struct err *e)
{
	if (!path_is_default() || access("/run/systemd/system", F_OK) < 0)
		return 0;
	if (take_units(c, e) < 0)
		return -e->no;
	return census_each(c, CONTROL_DIR, take_property, e);
}
