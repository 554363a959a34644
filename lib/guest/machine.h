// SPDX-License-Identifier: MIT
// What the agent does to the guest it runs in. Plain system calls; no shell, no helper programs.
// For mvm-guestd only.
#pragma once
#include "guest/agent.h"

// Process 1: the usual mounts, links and loopback. As an ordinary service: nothing.
// What fails is said on stderr; a guest without, say, /dev/shm still can say so itself.
void machine_boot(void);
// Host name, clock, random numbers, eth0, resolver.
int machine_network(const struct guest_net *net, struct err *e) MUST_CHECK;
// The name of the card (of IFNAMSIZ bytes) that the above is done to, and its hardware address.
int machine_card(char out[static 16], struct err *e) MUST_CHECK;
int machine_mac(const uint8_t mac[6], struct err *e) MUST_CHECK;
// It has that name and that address already.
bool machine_has_network(const struct guest_net *net);
// By ARP, after the card is on another bridge.
int machine_announce(const struct guest_net *net, struct err *e) MUST_CHECK;
void machine_clock(uint64_t utc_us); // when it is off by more than half a second
void machine_seed(const uint8_t seed[32]);
// Drives by file system label: mvm-data is mounted on /data; mvm-secrets and mvm-config are copied
// into read-only tmpfs at /run/secrets (readable by user only) and /etc/mvm-config. An absent one
// is none. ret_found: enum guest_drive, or-ed.
int machine_drives(const char *user, uint32_t *ret_found, struct err *e) MUST_CHECK;
// /data alone: found is told, mounted already is fine. leave: so that another disk may be in its
// place when it is mounted again; kind unavailable when somebody has a file of it open.
int machine_data(bool *ret_found, struct err *e) MUST_CHECK;
int machine_data_leave(struct err *e) MUST_CHECK;
// GUEST_SLEEP, GUEST_REPAIR and GUEST_THAW, in a process that the agent has made for it, or in its
// own where at_once says so (agent.h).
struct guest_hook;
struct guest_steps;
int machine_around(uint8_t type, const struct guest_hook *h, struct guest_steps *steps,
		   struct err *e) MUST_CHECK;
bool machine_at_once(uint8_t type, const struct guest_hook *h);
int machine_owed(struct err *e) MUST_CHECK; // as of agent.h
int machine_repair(const struct guest_hook *h, struct guest_steps *steps, struct err *e) MUST_CHECK;
int machine_repair_owed(struct err *e) MUST_CHECK; // what it has put off
int machine_boot_id(struct err *e) MUST_CHECK;	   // a new one in /run/mvm/boot-id
void machine_worker(const char *user);		   // may write guest/worker.h's file from now on
// Stops every process but the agent (our parent) and us: by the freezer of cgroup v2, else by
// SIGSTOP. What was stopped is written down, and only that goes on.
int machine_freeze(int64_t deadline_ms, struct err *e) MUST_CHECK;
int machine_unfreeze(struct err *e) MUST_CHECK;
// Where a reset by triple fault is the fast one (QEMU without a keyboard controller's delay).
void machine_fast_reset(void);
// Says why on the console (the host tells a reboot from a crash by that line), syncs, unmounts,
// reboots. Every process has been ended. As an ordinary service: ends the agent only.
void machine_down(const char *why);

// machine_drive.c: label of the file system on an open block device; false when it is none we know.
bool drive_label(int fd, char out[17]);
// machine_copy.c: copies regular files and directories, no others. Secrets: files 0400, directories
// 0500, the owner's; else 0444 and 0555.
struct drive_copy {
	uid_t uid;
	gid_t gid;
	bool secret;
	uint64_t left; // bytes that may still be copied
	int depth;
};
int drive_copy(int from_dir, int to_dir, struct drive_copy *c, struct err *e) MUST_CHECK;
// machine_netlink.c: one request and its acknowledgement.
struct nlmsghdr;
int netlink_send(struct nlmsghdr *req, struct err *e) MUST_CHECK;
