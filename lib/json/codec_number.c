// SPDX-License-Identifier: MIT
// The kinds of field that are numbers.
#include "json/codec_parts.h"

#include <inttypes.h>

int64_t codec_int_min(const struct field *f)
{
	int64_t least = f->size < 8 ? -((int64_t)1 << (8 * f->size - 1)) : -(int64_t)CODEC_EXACT;

	return f->max || f->imin ? MAX(f->imin, least) : least;
}

// Members are read and written by memcpy: their type is known by size only.
static uint64_t load_uint(const struct field *f, const void *at)
{
	uint64_t v = 0;
	uint32_t v32;
	uint16_t v16;
	uint8_t v8;

	switch (f->size) {
	case 1:
		memcpy(&v8, at, 1);
		return v8;
	case 2:
		memcpy(&v16, at, 2);
		return v16;
	case 4:
		memcpy(&v32, at, 4);
		return v32;
	default:
		memcpy(&v, at, sizeof(v));
		return v;
	}
}

static int64_t load_int(const struct field *f, const void *at)
{
	int64_t v = 0;
	int32_t v32;

	if (f->size == 4) {
		memcpy(&v32, at, 4);
		return v32;
	}
	memcpy(&v, at, sizeof(v));
	return v;
}

static void store_int(const struct field *f, void *at, uint64_t v)
{
	uint32_t v32 = (uint32_t)v;
	uint16_t v16 = (uint16_t)v;
	uint8_t v8 = (uint8_t)v;

	memcpy(at,
	       f->size == 1   ? (void *)&v8
	       : f->size == 2 ? (void *)&v16
	       : f->size == 4 ? (void *)&v32
			      : (void *)&v,
	       f->size);
}

// Plain digits with or without a sign; 1.0, 1e3 and -0 have no place where an integer is meant.
// A magnitude beyond 64 bits saturates: no limit reaches that far.
static int integer(const cJSON *in, bool *negative, uint64_t *size, struct err *e)
{
	const char *s = in->valuestring;

	if (!cJSON_IsNumber(in))
		return err_usage(e, "expected an integer");
	*negative = *s == '-';
	if (*negative)
		s++;
	if (s[strspn(s, "0123456789")] || (*negative && str_eq(s, "0")))
		return err_usage(e, "%s is not a plain integer", in->valuestring);
	for (*size = 0; *s; s++)
		if (__builtin_mul_overflow(*size, 10, size) ||
		    __builtin_add_overflow(*size, (uint64_t)(*s - '0'), size)) {
			*size = UINT64_MAX;
			break;
		}
	return 0;
}

int codec_get_uint(const struct field *f, const cJSON *in, void *at, struct err *e)
{
	bool negative = false;
	uint64_t v = 0;

	if (integer(in, &negative, &v, e) < 0)
		return -e->no;
	if (negative || v < f->min || v > codec_max(f))
		return err_usage(e, "%s is outside %" PRIu64 "..%" PRIu64, in->valuestring, f->min,
				 codec_max(f));
	store_int(f, at, v);
	return 0;
}

void codec_put_uint(const struct field *f, const void *at, struct buf *out)
{
	buf_fmt(out, "%" PRIu64, load_uint(f, at));
}

int codec_get_int(const struct field *f, const cJSON *in, void *at, struct err *e)
{
	bool negative = false;
	uint64_t size = 0;

	if (integer(in, &negative, &size, e) < 0)
		return -e->no;
	int64_t v = size > CODEC_EXACT ? INT64_MAX : (int64_t)size;
	if (negative)
		v = -v;
	if (v < codec_int_min(f) || (v > 0 && (uint64_t)v > codec_max(f)))
		return err_usage(e, "%s is outside %" PRId64 "..%" PRIu64, in->valuestring,
				 codec_int_min(f), codec_max(f));
	store_int(f, at, (uint64_t)v);
	return 0;
}

void codec_put_int(const struct field *f, const void *at, struct buf *out)
{
	buf_fmt(out, "%" PRId64, load_int(f, at));
}

int codec_get_real(const struct field *f, const cJSON *in, void *at, struct err *e)
{
	if (!cJSON_IsNumber(in))
		return err_usage(e, "expected a number");
	double v = in->valuedouble;
	if ((f->min || f->max) && (v < (double)f->min || v > (double)f->max))
		return err_usage(e, "%s is outside %" PRIu64 "..%" PRIu64, in->valuestring, f->min,
				 f->max);
	memcpy(at, &v, sizeof(v));
	return 0;
}

// The shortest form that reads back as the same number, with a point in every locale.
void codec_put_real(const struct field *f, const void *at, struct buf *out)
{
	char text[40];
	double v;

	(void)f;
	memcpy(&v, at, sizeof(v));
	if (!__builtin_isfinite(v)) // JSON has no word for it
		v = 0;
	for (int digits = 15; digits <= 17; digits++) {
		base_cut(text, sizeof(text), "%.*g", digits, v);
		if (strtod(text, NULL) == v)
			break;
	}
	for (char *p = text; *p; p++)
		if (*p == ',')
			*p = '.';
	buf_str(out, text);
}
