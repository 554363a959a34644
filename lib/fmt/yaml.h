// SPDX-License-Identifier: MIT
// A JSON document as YAML 1.1: text always in double quotes, so that nothing is taken for a number,
// a date or a truth value; keys plain where that is safe. The only module that includes libyaml.
#pragma once
#include "json/codec.h"

int yaml_print(const struct codec_node *doc, struct buf *out, struct err *e) MUST_CHECK;
