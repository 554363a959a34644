// SPDX-License-Identifier: MIT
// What a guest that was restored must not keep from the one that was captured: its clock, its
// random numbers, its address, and the ids of its boot. The machine id stays: it is the instance's;
// what began as a template, or as another guest, gets one of its own, and with it hardware address
// and /data.
#include "guest/machine.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <linux/random.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>

#include "base/fd.h"
#include "base/num.h"
#include "guest/agent_core.h"
#include "guest/hook.h"
#include "guest/worker.h"

static int set_clock(uint64_t utc_us, struct guest_steps *steps, struct err *e)
{
	struct timespec now = { 0 },
			t = { (time_t)(utc_us / 1000000), (long)(utc_us % 1000000 * 1000) };
	int64_t off;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	off = (int64_t)utc_us / 1000 - ((int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000);
	guest_step(steps, "clock: by %lld ms", (long long)off);
	return clock_settime(CLOCK_REALTIME, &t) < 0 ? err_sys(e, "set the clock") : 0;
}

// Both are needed: the new bytes, and the kernel's generator made from them at once.
static int reseed(const uint8_t seed[32], struct err *e)
{
	cleanup_fd int fd = open("/dev/urandom", O_WRONLY | O_CLOEXEC);
	struct {
		int entropy_count, buf_size;
		uint8_t bytes[32];
	} pool = { 256, 32, { 0 } };
	int r;

	memcpy(pool.bytes, seed, sizeof(pool.bytes));
	r = fd < 0 ? -1 : ioctl(fd, RNDADDENTROPY, &pool);
	explicit_bzero(&pool, sizeof(pool));
	if (r < 0 || ioctl(fd, RNDRESEEDCRNG) < 0)
		return err_sys(e, "reseed the random numbers");
	return 0;
}

static int remove_address(const struct ifaddrs *it, struct err *e)
{
	const struct sockaddr_in *in = (const void *)it->ifa_addr,
				 *mask = (const void *)it->ifa_netmask;
	struct {
		struct nlmsghdr head;
		struct ifaddrmsg addr;
		struct rtattr attribute;
		uint32_t local;
	} r = { .head = { .nlmsg_len = sizeof(r), .nlmsg_type = RTM_DELADDR },
		.addr = { .ifa_family = AF_INET, .ifa_index = if_nametoindex(it->ifa_name) },
		.attribute = { .rta_len = RTA_LENGTH(4), .rta_type = IFA_LOCAL } };

	r.addr.ifa_prefixlen = (uint8_t)__builtin_popcount(mask->sin_addr.s_addr);
	r.local = in->sin_addr.s_addr;
	return netlink_send(&r.head, e);
}

// The address of the guest that was captured: on the card that we are given, and not ours.
static int drop_addresses(const struct guest_net *net, struct err *e)
{
	struct ifaddrs *all = NULL;
	char card[IFNAMSIZ];
	int r = 0;

	if (machine_card(card, e) < 0)
		return -e->no;
	if (getifaddrs(&all) < 0)
		return err_sys(e, "list addresses");
	for (struct ifaddrs *it = all; it && r == 0; it = it->ifa_next) {
		const struct sockaddr_in *in = (const void *)it->ifa_addr;

		if (!in || in->sin_family != AF_INET || !str_eq(it->ifa_name, card) ||
		    !it->ifa_netmask || ntohl(in->sin_addr.s_addr) == net->address)
			continue;
		r = remove_address(it, e);
	}
	freeifaddrs(all);
	return r;
}

// Of version 4, without its dashes.
static int random_uuid(char hex[static 33], struct err *e)
{
	uint8_t r[16] = { 0 };

	if (getrandom(r, sizeof(r), 0) != (ssize_t)sizeof(r))
		return err_sys(e, "random numbers");
	r[6] = (r[6] & 0x0f) | 0x40;
	r[8] = (r[8] & 0x3f) | 0x80;
	num_to_hex(r, sizeof(r), hex);
	return 0;
}

#define BOOT_ID	    "boot-id"
#define BOOT_ID_LEN 37 // a UUID and the end of its line

static int make_boot_id(char out[static BOOT_ID_LEN + 1], struct err *e)
{
	char hex[33];

	if (random_uuid(hex, e) < 0)
		return -e->no;
	base_cut(out, BOOT_ID_LEN + 1, "%.8s-%.4s-%.4s-%.4s-%.12s\n", hex, hex + 8, hex + 12,
		 hex + 16, hex + 20);
	return 0;
}

// Its readers stand still, and the one before it has the same length: to write over that takes a
// guest that was just loaded a third of the time that a file of its own does.
static bool write_over(const char *text)
{
	cleanup_fd int fd = open(WORKER_DIR "/" BOOT_ID, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1 &&
	       st.st_size == BOOT_ID_LEN && pwrite(fd, text, BOOT_ID_LEN, 0) == BOOT_ID_LEN;
}

int machine_boot_id(struct err *e)
{
	char text[BOOT_ID_LEN + 1];
	cleanup_fd int dir = -1;

	if (make_boot_id(text, e) < 0)
		return -e->no;
	if (write_over(text))
		return 0;
	if (fd_mkdirs(WORKER_DIR, 0755, e) < 0)
		return -e->no;
	dir = fd_open_dir(AT_FDCWD, WORKER_DIR, e);
	return dir < 0 ? -e->no : fd_replace_file(dir, BOOT_ID, text, BOOT_ID_LEN, 0644, e);
}

// The file is the user's, its directory stays ours.
void machine_worker(const char *user)
{
	cleanup_fd int fd = open(WORKER_FILE, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644);
	struct spawn_user owner;
	struct err ignored = { 0 };

	if (fd >= 0 && agent_spawn_find_user(user, &owner, &ignored) == 0)
		(void)!fchown(fd, owner.uid, owner.gid);
}

// Only where there is one: our own images have none.
static int machine_id(struct err *e)
{
	cleanup_fd int dir = open("/etc", O_DIRECTORY | O_CLOEXEC);
	char text[34];

	if (dir < 0 || faccessat(dir, "machine-id", F_OK, 0) < 0)
		return 0;
	if (random_uuid(text, e) < 0)
		return -e->no;
	text[32] = '\n';
	text[33] = '\0';
	return fd_replace_file(dir, "machine-id", text, 33, 0444, e);
}

static int leave_template(struct guest_steps *steps, struct err *e)
{
	bool found;

	guest_step(steps, "machine id");
	if (machine_id(e) < 0)
		return -e->no;
	guest_step(steps, "/data");
	return machine_data(&found, e);
}

// Of a repair: 25 ms of a guest that was just loaded under emulation, where all code is new.
static struct {
	bool due;
	uint8_t seed[32];
} owed;

int machine_repair_owed(struct err *e)
{
	if (!owed.due)
		return 0;
	if (reseed(owed.seed, e) < 0 || machine_boot_id(e) < 0)
		return -e->no;
	explicit_bzero(&owed, sizeof(owed));
	return 0;
}

static int renew(const struct guest_hook *h, struct guest_steps *steps, struct err *e)
{
	bool later = h->flags & GUEST_HOOK_OWE;

	guest_step(steps, "random numbers and boot id%s", later ? ": before the thaw" : "");
	owed.due = true;
	memcpy(owed.seed, h->seed, sizeof(owed.seed));
	return later ? 0 : machine_repair_owed(e);
}

int machine_repair(const struct guest_hook *h, struct guest_steps *steps, struct err *e)
{
	if ((h->time_us && set_clock(h->time_us, steps, e) < 0) || renew(h, steps, e) < 0)
		return -e->no;
	if (h->flags & GUEST_HOOK_TEMPLATE) {
		guest_step(steps, "hardware address");
		if (machine_mac(h->mac, e) < 0)
			return -e->no;
	}
	if (machine_has_network(&h->net)) {
		guest_step(steps, "network: as it was");
	} else {
		guest_step(steps, "network: %s", h->net.hostname[0] ? h->net.hostname : "none");
		if ((h->net.address && drop_addresses(&h->net, e) < 0) ||
		    machine_network(&h->net, e) < 0)
			return -e->no;
	}
	return h->flags & GUEST_HOOK_TEMPLATE ? leave_template(steps, e) : 0;
}
