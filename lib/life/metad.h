// SPDX-License-Identifier: MIT
// A guest's metadata in the steps of a run: its document, and the tenant's server through the
// backend that keeps it (sh/backend metad-start, metad-stop).
#pragma once
#include "base/name.h"

// run: returns when the server answers; one that does already is fine. Else ends it.
int metad_ensure(const char *tenant, bool run, struct err *e) MUST_CHECK;
// Publishes the instance's document and makes sure of the server.
int metad_offer(const struct address *a, struct err *e) MUST_CHECK;
// Takes the document back; without documents of the tenant there is nothing to do.
int metad_withdraw(const struct address *a, struct err *e) MUST_CHECK;
