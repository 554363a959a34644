// SPDX-License-Identifier: MIT
#include "guest/machine.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/random.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/if_ether.h>
#include <netpacket/packet.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/name.h"

#define IFACES 64 // looked at for the address

struct request {
	struct nlmsghdr head;
	union {
		struct ifaddrmsg addr;
		struct rtmsg route;
		struct ndmsg neighbour;
	};
	char attributes[128];
};

static void add(struct request *r, uint16_t type, const void *data, size_t len)
{
	struct rtattr *a = (struct rtattr *)((char *)r + NLMSG_ALIGN(r->head.nlmsg_len));

	a->rta_type = type;
	a->rta_len = (uint16_t)RTA_LENGTH(len);
	memcpy(RTA_DATA(a), data, len);
	r->head.nlmsg_len = (uint32_t)(NLMSG_ALIGN(r->head.nlmsg_len) + RTA_ALIGN(a->rta_len));
}

static int set_address(unsigned link, const struct guest_net *net, struct err *e)
{
	struct request r = { .head = { .nlmsg_len = NLMSG_LENGTH(sizeof(r.addr)),
				       .nlmsg_type = RTM_NEWADDR,
				       .nlmsg_flags = NLM_F_CREATE | NLM_F_REPLACE } };
	uint32_t address = htonl(net->address);
	uint32_t mask = net->prefix ? htonl(~0U << (32 - net->prefix)) : 0;
	uint32_t broadcast = address | ~mask;

	r.addr = (struct ifaddrmsg){ .ifa_family = AF_INET,
				     .ifa_prefixlen = net->prefix,
				     .ifa_index = link };
	add(&r, IFA_LOCAL, &address, sizeof(address));
	add(&r, IFA_ADDRESS, &address, sizeof(address));
	if (net->prefix < 31)
		add(&r, IFA_BROADCAST, &broadcast, sizeof(broadcast));
	return netlink_send(&r.head, e) < 0 ? err_wrap(e, "set the address") : 0;
}

static int set_gateway(unsigned link, const struct guest_net *net, struct err *e)
{
	static const uint8_t none[6];
	struct request route = { .head = { .nlmsg_len = NLMSG_LENGTH(sizeof(route.route)),
					   .nlmsg_type = RTM_NEWROUTE,
					   .nlmsg_flags = NLM_F_CREATE | NLM_F_REPLACE } };
	struct request near = { .head = { .nlmsg_len = NLMSG_LENGTH(sizeof(near.neighbour)),
					  .nlmsg_type = RTM_NEWNEIGH,
					  .nlmsg_flags = NLM_F_CREATE | NLM_F_REPLACE } };
	uint32_t gateway = htonl(net->gateway);

	if (!net->gateway)
		return 0;
	route.route = (struct rtmsg){ .rtm_family = AF_INET,
				      .rtm_table = RT_TABLE_MAIN,
				      .rtm_protocol = RTPROT_BOOT,
				      .rtm_type = RTN_UNICAST,
				      .rtm_scope = RT_SCOPE_UNIVERSE };
	add(&route, RTA_OIF, &link, sizeof(link));
	add(&route, RTA_GATEWAY, &gateway, sizeof(gateway));
	if (netlink_send(&route.head, e) < 0)
		return err_wrap(e, "set the default route");
	if (memcmp(net->gateway_mac, none, sizeof(none)) == 0)
		return 0;
	near.neighbour = (struct ndmsg){ .ndm_family = AF_INET,
					 .ndm_ifindex = (int)link,
					 .ndm_state = NUD_PERMANENT };
	add(&near, NDA_DST, &gateway, sizeof(gateway));
	add(&near, NDA_LLADDR, net->gateway_mac, sizeof(net->gateway_mac));
	return netlink_send(&near.head, e) < 0 ? err_wrap(e, "set the gateway's hardware address")
					       : 0;
}

// eth0, or whatever a distribution calls its first ethernet card: its name and hardware address. fd
// is a socket, or what became of opening one.
static int find_card(int fd, struct ifreq *ret, struct err *e)
{
	struct if_nameindex *all = NULL;
	bool found = false;

	if (fd < 0)
		return err_sys(e, "socket");
	all = if_nameindex();
	for (struct if_nameindex *it = all; it && it->if_index && !found; it++) {
		*ret = (struct ifreq){ 0 };
		memcpy(ret->ifr_name, it->if_name, strnlen(it->if_name, IFNAMSIZ - 1));
		found = ioctl(fd, SIOCGIFHWADDR, ret) == 0 &&
			ret->ifr_hwaddr.sa_family == ARPHRD_ETHER;
	}
	if (all)
		if_freenameindex(all);
	return found ? 0 : err_set(e, ENODEV, "no network card");
}

int machine_card(char out[static IFNAMSIZ], struct err *e)
{
	cleanup_fd int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq r;

	if (find_card(fd, &r, e) < 0)
		return -e->no;
	memcpy(out, r.ifr_name, IFNAMSIZ);
	return 0;
}

int machine_mac(const uint8_t mac[6], struct err *e)
{
	cleanup_fd int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq r;

	if (find_card(fd, &r, e) < 0)
		return -e->no;
	memcpy(r.ifr_hwaddr.sa_data, mac, ETH_ALEN);
	return ioctl(fd, SIOCSIFHWADDR, &r) < 0
		       ? err_sys(e, "set the hardware address of %s", r.ifr_name)
		       : 0;
}

static int set_card(const struct guest_net *net, struct err *e)
{
	cleanup_fd int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq r;
	unsigned link;

	if (find_card(fd, &r, e) < 0)
		return -e->no;
	r.ifr_mtu = net->mtu;
	if (net->mtu && ioctl(fd, SIOCSIFMTU, &r) < 0)
		return err_sys(e, "set the MTU %u of %s", net->mtu, r.ifr_name);
	r.ifr_flags = IFF_UP;
	if (ioctl(fd, SIOCSIFFLAGS, &r) < 0)
		return err_sys(e, "switch %s on", r.ifr_name);
	link = if_nametoindex(r.ifr_name);
	if (set_address(link, net, e) < 0 || set_gateway(link, net, e) < 0)
		return err_wrap(e, "%s", r.ifr_name);
	return 0;
}

static void ip_line(struct buf *b, const char *before, uint32_t ip, const char *after)
{
	buf_fmt(b, "%s%u.%u.%u.%u%s\n", before, ip >> 24, ip >> 16 & 255, ip >> 8 & 255, ip & 255,
		after);
}

// /etc/resolv.conf of our images is a link to this file; /etc/hosts is ours only as process 1 (or
// its child, after a restore), and may be read-only.
static int write_names(const struct guest_net *net, struct err *e)
{
	cleanup_buf struct buf resolv = BUF_INIT, hosts = BUF_INIT;
	cleanup_fd int run = open("/run", O_DIRECTORY | O_CLOEXEC), etc = -1;
	char after[80];

	for (size_t i = 0; i < GUEST_DNS; i++)
		if (net->dns[i])
			ip_line(&resolv, "nameserver ", net->dns[i], "");
	if (run < 0)
		return err_sys(e, "open /run");
	if (fd_replace_file(run, "resolv.conf", buf_text(&resolv), resolv.len, 0644, e) < 0)
		return -e->no;
	if ((getpid() != 1 && getppid() != 1) || !net->hostname[0] || !net->address ||
	    base_fmt(after, sizeof(after), " %s", net->hostname) < 0)
		return 0;
	buf_str(&hosts, "127.0.0.1 localhost\n::1 localhost\n");
	ip_line(&hosts, "", net->address, after);
	etc = open("/etc", O_DIRECTORY | O_CLOEXEC);
	if (etc >= 0 && fd_replace_file(etc, "hosts", buf_text(&hosts), hosts.len, 0644, e) < 0)
		err_clear(e);
	return 0;
}

int machine_network(const struct guest_net *net, struct err *e)
{
	if (net->hostname[0] && sethostname(net->hostname, strlen(net->hostname)) < 0)
		return err_sys(e, "set the host name");
	if (net->address && set_card(net, e) < 0)
		return err_wrap(e, "network");
	return write_names(net, e) < 0 ? err_wrap(e, "network") : 0;
}

// The card that has our address: a wake that has found it does not look for it once more.
static struct card {
	uint32_t address; // 0: not known
	int index;
	uint8_t mac[ETH_ALEN];
} known;

static bool know_card(int fd, struct ifreq *r, uint32_t address)
{
	struct card c = { .address = address };

	if (ioctl(fd, SIOCGIFHWADDR, r) < 0 || r->ifr_hwaddr.sa_family != ARPHRD_ETHER)
		return false;
	memcpy(c.mac, r->ifr_hwaddr.sa_data, ETH_ALEN);
	if (ioctl(fd, SIOCGIFINDEX, r) < 0)
		return false;
	c.index = r->ifr_ifindex;
	known = c;
	return true;
}

// A guest that goes on as itself has name and address; what else its users made of its network is
// theirs.
bool machine_has_network(const struct guest_net *net)
{
	cleanup_fd int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq all[IFACES] = { 0 };
	struct ifconf list = { .ifc_len = (int)sizeof(all), .ifc_req = all };
	char host[sizeof(net->hostname) + 1] = "";

	known.address = 0;
	if (!net->address || fd < 0 || gethostname(host, sizeof(host) - 1) < 0 ||
	    !str_eq(host, net->hostname) || ioctl(fd, SIOCGIFCONF, &list) < 0)
		return false;
	for (size_t i = 0; i < (size_t)list.ifc_len / sizeof(all[0]); i++) {
		const struct sockaddr_in *in = (const void *)&all[i].ifr_addr;

		if (ntohl(in->sin_addr.s_addr) == net->address &&
		    ioctl(fd, SIOCGIFFLAGS, &all[i]) == 0 && all[i].ifr_flags & IFF_UP) {
			(void)know_card(fd, &all[i], net->address);
			return true;
		}
	}
	return false;
}

// A request for one's own address, to all: whoever has an entry for it, and every bridge on the
// way, learns where it is now.
int machine_announce(const struct guest_net *net, struct err *e)
{
	cleanup_fd int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, htons(ETH_P_ARP));
	struct sockaddr_ll to = { .sll_family = AF_PACKET,
				  .sll_protocol = htons(ETH_P_ARP),
				  .sll_halen = ETH_ALEN };
	struct ether_arp arp = { .ea_hdr = { .ar_hrd = htons(ARPHRD_ETHER),
					     .ar_pro = htons(ETH_P_IP),
					     .ar_hln = ETH_ALEN,
					     .ar_pln = 4,
					     .ar_op = htons(ARPOP_REQUEST) } };
	uint32_t address = htonl(net->address);
	struct ifreq r;

	if (known.address != net->address || fd < 0) {
		if (find_card(fd, &r, e) < 0)
			return -e->no;
		if (!know_card(fd, &r, net->address))
			return err_sys(e, "look at %s", r.ifr_name);
	}
	to.sll_ifindex = known.index;
	memset(to.sll_addr, 0xff, ETH_ALEN);
	memcpy(arp.arp_sha, known.mac, ETH_ALEN);
	memcpy(arp.arp_spa, &address, sizeof(address));
	memcpy(arp.arp_tpa, &address, sizeof(address));
	return sendto(fd, &arp, sizeof(arp), 0, (struct sockaddr *)&to, sizeof(to)) < 0
		       ? err_sys(e, "announce by ARP")
		       : 0;
}

void machine_clock(uint64_t utc_us)
{
	struct timespec now = { 0 },
			t = { (time_t)(utc_us / 1000000), (long)(utc_us % 1000000 * 1000) };
	int64_t off;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	off = (int64_t)utc_us - ((int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000);
	if (utc_us && (off > 500000 || off < -500000) && clock_settime(CLOCK_REALTIME, &t) < 0)
		log_warn("", "set the clock: %s", strerror(errno));
}

void machine_seed(const uint8_t seed[32])
{
	cleanup_fd int fd = open("/dev/urandom", O_WRONLY | O_CLOEXEC);
	struct {
		int entropy_count, buf_size;
		uint8_t bytes[32];
	} pool = { 256, 32, { 0 } };

	memcpy(pool.bytes, seed, sizeof(pool.bytes));
	if (fd >= 0)
		(void)ioctl(fd, RNDADDENTROPY, &pool);
	explicit_bzero(&pool, sizeof(pool));
}
