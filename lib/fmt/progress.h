// SPDX-License-Identifier: MIT
// Progress of long work, as JSON Lines on in (base/tool.h's tool_progress), drawn for a person on
// out: one line that is written over on a terminal, elsewhere a line every ten seconds and at each
// new stage.
#pragma once
#include "base/err.h"

int progress_draw(FILE *in, FILE *out, bool terminal, struct err *e) MUST_CHECK;
