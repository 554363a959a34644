// SPDX-License-Identifier: MIT
// What an audit log can say was done: one table, from which come the numbers, the words of the
// format, `mvm-audit actions` and the test that has each of them done once.
//
// X(number, word, what does it: NULL while nothing does, what it was)
#pragma once
#include "base/buf.h"

#define AUDIT_ACTION_TABLE(X)                                                                      \
	X(AUDIT_TENANT_CREATED, "TenantCreated", "mvm-tenant create",                              \
	  "a tenant was made, with its network and quotas")                                        \
	X(AUDIT_TENANT_UPDATED, "TenantUpdated", "mvm-tenant update",                              \
	  "quotas, deny_log or another setting of a tenant: old and new")                          \
	X(AUDIT_TENANT_DESTROYED, "TenantDestroyed", "mvm-tenant destroy",                         \
	  "the last entry of a log, which goes to the archive")                                    \
	X(AUDIT_POOL_CREATED, "PoolCreated", "mvm-pool create", "a pool was made")                 \
	X(AUDIT_POOL_UPDATED, "PoolUpdated", "mvm-pool update",                                    \
	  "egress, limits, probes or another policy of a pool: old and new")                       \
	X(AUDIT_POOL_BUILT, "PoolBuilt", "mvm-pool-build build", "a pool has another image")       \
	X(AUDIT_POOL_ROLLED_BACK, "PoolRolledBack", "mvm-pool-build rollback",                     \
	  "a pool has a former image again")                                                       \
	X(AUDIT_POOL_SCALED, "PoolScaled", "mvm-pool scale", "counts of a pool: old and new")      \
	X(AUDIT_POOL_DESTROYED, "PoolDestroyed", "mvm-pool destroy", "a pool was removed")         \
	X(AUDIT_INSTANCE_CREATED, "InstanceCreated", "mvm-instance create, mvm-pool scale",        \
	  "an instance's record was made")                                                         \
	X(AUDIT_INSTANCE_STARTED, "InstanceStarted", "mvm-instance start, wake",                   \
	  "a guest is ready; with image, address, VMM, secrets epoch and config version")          \
	X(AUDIT_INSTANCE_STOPPED, "InstanceStopped", "mvm-instance stop", "a guest was ended")     \
	X(AUDIT_INSTANCE_EXITED, "InstanceExited", "mvm-instance finish",                          \
	  "a guest ended by itself, or somebody else killed it: the cause")                        \
	X(AUDIT_INSTANCE_WARMED, "InstanceWarmed", "mvm-instance warm",                            \
	  "a guest was paused in memory")                                                          \
	X(AUDIT_INSTANCE_SLEPT, "InstanceSlept", "mvm-instance sleep",                             \
	  "a guest was captured and ended")                                                        \
	X(AUDIT_INSTANCE_WOKEN, "InstanceWoken", "mvm-instance wake, start",                       \
	  "a guest goes on from its capture, or from memory")                                      \
	X(AUDIT_INSTANCE_DESTROYED, "InstanceDestroyed", "mvm-instance destroy, mvm-pool destroy", \
	  "an instance and its disks were removed")                                                \
	X(AUDIT_START_FAILED, "StartFailed", "mvm-instance start", "no guest came up: why")        \
	X(AUDIT_QUOTA_EXCEEDED, "QuotaExceeded",                                                   \
	  "mvm-pool create, mvm-pool scale, mvm-instance create, start, wake, warm, sleep",        \
	  "a quota kept something from being done")                                                \
	X(AUDIT_SECRETS_ROTATED, "SecretsRotated", "mvm-secrets set, rotate, rm",                  \
	  "another epoch of secrets; neither names nor values")                                    \
	X(AUDIT_SECRETS_DELIVERED, "SecretsDelivered",                                             \
	  "mvm-secrets set, rotate, rm, mvm-disk push", "a guest that runs has that epoch")        \
	X(AUDIT_CONFIG_CHANGED, "ConfigChanged", "mvm-config set",                                 \
	  "another version of the configuration; neither keys nor values")                         \
	X(AUDIT_CONFIG_DELIVERED, "ConfigDelivered", "mvm-config set, mvm-disk push",              \
	  "a guest that runs has that version")                                                    \
	X(AUDIT_SNAPSHOT_CREATED, "SnapshotCreated",                                               \
	  "mvm-snap base, mvm-instance snapshot create, clone",                                    \
	  "a capture was kept: a base for the starts of a pool, or one with a name")               \
	X(AUDIT_SNAPSHOT_RESTORED, "SnapshotRestored", "mvm-instance snapshot restore, clone",     \
	  "an instance got memory and disk of a named capture")                                    \
	X(AUDIT_SNAPSHOT_DELETED, "SnapshotDeleted",                                               \
	  "mvm-instance discard, start --cold, snapshot restore, snapshot rm, clone",              \
	  "a capture was removed")                                                                 \
	X(AUDIT_NETWORK_REPAIRED, "NetworkRepaired", "mvm-bridge repair",                          \
	  "what of a tenant's network was put right")                                              \
	X(AUDIT_GUEST_EXEC, "GuestExec", "mvm-guest exec",                                         \
	  "a command in a guest: its program, not its arguments")                                  \
	X(AUDIT_GUEST_SHELL, "GuestShell", "mvm-guest ssh", "a shell in a guest")                  \
	X(AUDIT_GUEST_ATTACHED, "GuestAttached", "mvm-guest attach",                               \
	  "somebody went to a session of a guest")                                                 \
	X(AUDIT_GUEST_SIGNALLED, "GuestSignalled", "mvm-guest sessions --kill, --rm",              \
	  "a session of a guest was sent a signal, or forgotten")                                  \
	X(AUDIT_GUEST_COPIED, "GuestCopied", "mvm-guest cp",                                       \
	  "files went into a guest or out of it: the path there")                                  \
	X(AUDIT_GUEST_FORWARDED, "GuestForwarded", "mvm-guest port-forward",                       \
	  "ports of a guest were opened on this machine")                                          \
	X(AUDIT_GUEST_SHUT_DOWN, "GuestShutDown", "mvm-guest shutdown",                            \
	  "a guest was asked to go down by hand")                                                  \
	X(AUDIT_LOG_REPAIRED, "LogRepaired", "whoever writes next",                                \
	  "an unfinished line was found and replaced by this entry")

enum audit_action {
#define AUDIT_NUMBER(number, ...) number,
	AUDIT_ACTION_TABLE(AUDIT_NUMBER)
#undef AUDIT_NUMBER
		AUDIT_ACTIONS
};
extern const char *const audit_action_names[]; // "TenantCreated", ...; NULL ends them

// The table as a list of records.
void audit_actions_print(struct buf *out);
