// SPDX-License-Identifier: MIT
#include "sys/changes.h"

#include <stdarg.h>

bool changes_take(struct changes *c, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt,
			ap); // names of ours fit; a cut sentence still tells
	va_end(ap);
	codec_texts_add(&c->done, text);
	return !c->dry_run;
}

void changes_free(struct changes *c)
{
	char **texts = c->done.items;

	for (size_t i = 0; i < c->done.len; i++)
		free(texts[i]);
	free(texts);
	c->done = (struct codec_list){ 0 };
}
