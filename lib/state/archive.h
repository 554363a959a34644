// SPDX-License-Identifier: MIT
// Where a tenant's audit log goes when the tenant does: archive/<tenant>-<time>/, 0700.
#pragma once
#include "audit/trail.h"
#include "state/store.h"

// Adds the log's last entry and puts its files into the archive, by hard links: they outlive the
// tenant's directory. The log stays locked, by *trail, until the caller has removed that directory,
// so that nobody adds to what is gone. A destroy that is tried again finds what it did before.
int archive_audit(const struct store *node, const struct store *tenant, struct audit_trail *trail,
		  struct err *e) MUST_CHECK;
