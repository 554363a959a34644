// SPDX-License-Identifier: MIT
#include "fmt/progress.h"
#include "base/clock.h"
#include "base/log.h"
#include "json/codec.h"

#define BAR_WIDTH 30
#define PLAIN_MS  10000

struct progress {
	char *object;
	char stage[64];
	uint64_t done, total;
};

static const struct field progress_fields[] = {
	{ FIELD_SLOT(struct progress, object, char *), .kind = KIND_STRING, .max = 4096 },
	{ FIELD_SLOT(struct progress, stage, char[64]), .kind = KIND_TEXT },
	{ FIELD_SLOT(struct progress, done, uint64_t), .kind = KIND_UINT, .max = (1ULL << 53) - 1 },
	{ FIELD_SLOT(struct progress, total, uint64_t), .kind = KIND_UINT,
	  .max = (1ULL << 53) - 1 },
	FIELD_END
};

static void draw_bar(const struct progress *p, FILE *out)
{
	uint64_t done = p->total ? MIN(p->done, p->total) : 0;
	int filled = p->total ? (int)(done * BAR_WIDTH / p->total) : 0;

	(void)fprintf(out, "\r%-12.12s [", p->stage);
	for (int i = 0; i < BAR_WIDTH; i++)
		(void)fputc(i < filled ? '#' : ' ', out);
	if (p->total)
		(void)fprintf(out, "] %3d %%", (int)(done * 100 / p->total));
	else
		(void)fprintf(out, "] %llu", (unsigned long long)p->done);
	(void)fflush(out);
}

static void draw_line(const struct progress *p, FILE *out)
{
	(void)fprintf(out, "%s: %llu of %llu\n", p->stage, (unsigned long long)p->done,
		      (unsigned long long)p->total);
	(void)fflush(out);
}

int progress_draw(FILE *in, FILE *out, bool terminal, struct err *e)
{
	char line[8192], last_stage[64] = "";
	int64_t last_ms = 0;
	bool drawn = false;

	while (fgets(line, sizeof(line), in)) {
		struct progress p = { 0 };

		if (codec_parse(progress_fields, line, strcspn(line, "\n"), &p, e) < 0)
			return err_wrap(e, "progress");
		log_clean(p.stage);
		if (terminal) {
			draw_bar(&p, out);
			drawn = true;
		} else if (!str_eq(p.stage, last_stage) || clock_ms() - last_ms >= PLAIN_MS) {
			draw_line(&p, out);
			last_ms = clock_ms();
		}
		memcpy(last_stage, p.stage, sizeof(last_stage));
		codec_free(progress_fields, &p);
	}
	if (drawn)
		(void)fputc('\n', out);
	return 0;
}
