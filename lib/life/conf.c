// SPDX-License-Identifier: MIT
#include "life/conf.h"
#include "base/fd.h"
#include "base/num.h"
#include "base/path.h"
#include <ctype.h>
#include <fcntl.h>

static const char *const known[] = {
	"vmm", "backend", "firecracker_version", "firecracker_sha256", "spare_taps", "metad_user"
};

static char *trim(char *s)
{
	char *end;

	while (*s == ' ' || *s == '\t')
		s++;
	end = s + strlen(s);
	while (end > s && (end[-1] == ' ' || end[-1] == '\t' || end[-1] == '\r'))
		*--end = '\0';
	return s;
}

static int parse_line(char *line, const char *key, char out[CONF_VALUE], struct err *e)
{
	char *text = trim(line), *eq, *name, *value;
	bool found = false;

	if (!*text || *text == '#')
		return 0;
	eq = strchr(text, '=');
	if (!eq)
		return err_kind(e, ERR_USAGE, "'%.40s' is not 'key = value'", text);
	*eq = '\0';
	name = trim(text);
	value = trim(eq + 1);
	for (size_t i = 0; i < COUNT(known); i++)
		found = found || str_eq(known[i], name);
	if (!found)
		return err_kind(e, ERR_USAGE, "unknown key '%.40s'", name);
	if (str_eq(name, key) && base_copy(out, CONF_VALUE, value) < 0)
		return err_kind(e, ERR_USAGE, "the value of %s is too long", key);
	return 0;
}

static int from_file(const char *key, char out[CONF_VALUE], struct err *e)
{
	cleanup_buf struct buf text = BUF_INIT;
	struct err why = { 0 };
	unsigned number = 0;
	char *rest;

	if (fd_read_file(AT_FDCWD, path_config(), 64 * KIB, &text, &why) < 0) {
		if (why.no == ENOENT)
			return 0;
		*e = why;
		return -e->no;
	}
	rest = text.data;
	for (char *line = strsep(&rest, "\n"); line; line = strsep(&rest, "\n")) {
		number++;
		if (parse_line(line, key, out, e) < 0)
			return err_wrap(e, "%s: line %u", path_config(), number);
	}
	return 0;
}

int conf_get(const char *key, const char *fallback, char out[CONF_VALUE], struct err *e)
{
	char variable[64] = "MVM_";
	const char *given;

	for (size_t i = 0; key[i] && i + 5 < sizeof(variable); i++)
		variable[i + 4] = (char)toupper((unsigned char)key[i]);
	given = getenv(variable);
	if (base_copy(out, CONF_VALUE, given && *given ? given : fallback) < 0)
		return err_usage(e, "%s is too long", variable);
	if (given && *given)
		return 0;
	return from_file(key, out, e);
}

int conf_spare_taps(unsigned *ret, struct err *e)
{
	char text[CONF_VALUE];
	uint64_t n;

	if (conf_get("spare_taps", "4", text, e) < 0)
		return -e->no;
	if (num_u64(text, 0, CONF_SPARE_TAPS_MAX, &n, e) < 0)
		return err_wrap(e, "spare_taps");
	*ret = (unsigned)n;
	return 0;
}
