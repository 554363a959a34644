// SPDX-License-Identifier: MIT
// Frames and sockets for the tests of isolation, on the host and inside guests; of lib/base alone,
// so that it can be linked statically. Everything it does ends by itself.
//	frame send IFACE KIND		frames past the sender's own IP stack
//	frame sniff IFACE TIME		"ready", then a line for each frame that passes there
//	frame listen PROTO ADDRESS PORT TIME	"ready", then each peer; answers with what it got
//	frame connect PROTO ADDRESS PORT	what became of it: a word and an exit status
//	frame blast PROTO ADDRESS PORT TIME	sends at a given rate
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/ether.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/name.h"
#include "base/num.h"
#include "base/tool.h"

#define TIME_MAX  600000 // ms
#define LINES_MAX 20000
#define PEERS_MAX 64
#define CHUNK	  1200 // bytes of a datagram that is sent in bulk

struct frame {
	uint8_t data[1514];
	size_t len;
};
struct probe { // addresses in host byte order
	uint8_t src_mac[6], dst_mac[6], arp_mac[6];
	uint32_t src_ip, dst_ip;
	uint16_t port, vlan;
};

static const char *arg_src_mac, *arg_dst_mac = "ff:ff:ff:ff:ff:ff", *arg_arp_mac;
static const char *arg_src_ip, *arg_dst_ip = "255.255.255.255";
static uint64_t arg_port = 9, arg_from, arg_vlan = 5, arg_frames = 1, arg_until, arg_rounds = 1,
		arg_kbit;
static uint64_t arg_timeout_ms = 1000, arg_interval_ms = 50;
static bool arg_sink;

// --- frames ------------------------------------------------------------------------------------

static void put(struct frame *f, const void *data, size_t len)
{
	len = MIN(len, sizeof(f->data) - f->len);
	memcpy(f->data + f->len, data, len);
	f->len += len;
}

static void put8(struct frame *f, unsigned v)
{
	const uint8_t byte = (uint8_t)v;

	put(f, &byte, 1);
}

static void put16(struct frame *f, unsigned v)
{
	put8(f, v >> 8);
	put8(f, v);
}

static void put32(struct frame *f, uint32_t v)
{
	put16(f, v >> 16);
	put16(f, v & 0xffff);
}

static uint32_t get(const uint8_t *p, size_t bytes)
{
	uint32_t v = 0;

	for (size_t i = 0; i < bytes; i++)
		v = v << 8 | p[i];
	return v;
}

static uint16_t checksum(const uint8_t *p, size_t len, uint32_t sum)
{
	for (size_t i = 0; i < len; i++)
		sum += i % 2 ? p[i] : (uint32_t)p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

// An IPv4 header for the given number of bytes behind it; offset as in the header, flags and all.
static void put_ip(struct frame *f, const struct probe *p, uint8_t proto, size_t len,
		   unsigned offset)
{
	const size_t at = f->len;
	uint16_t sum;

	put16(f, 0x4500);
	put16(f, (unsigned)(20 + len));
	put16(f, 0x4d56);
	put16(f, offset);
	put8(f, 64);
	put8(f, proto);
	put16(f, 0);
	put32(f, p->src_ip);
	put32(f, p->dst_ip);
	sum = htons(checksum(f->data + at, 20, 0));
	memcpy(f->data + at + 10, &sum, sizeof(sum));
}

// Without a checksum
static void put_datagram(struct frame *f, const struct probe *p)
{
	put16(f, p->port);
	put16(f, p->port);
	put16(f, 8 + 8);
	put16(f, 0);
	put(f, "a probe\n", 8);
}

static void put_udp(struct frame *f, const struct probe *p)
{
	put_ip(f, p, IPPROTO_UDP, 16, 0);
	put_datagram(f, p);
}

static void put_fragment(struct frame *f, const struct probe *p)
{
	put_ip(f, p, IPPROTO_UDP, 16, 0x2000);
	put_datagram(f, p);
}

static void put_fragment_rest(struct frame *f, const struct probe *p)
{
	put_ip(f, p, IPPROTO_UDP, 16, 0x0002);
	put_datagram(f, p);
}

static void put_tcp(struct frame *f, const struct probe *p, uint8_t flags)
{
	const size_t at = f->len + 20;
	uint32_t pseudo = (p->src_ip >> 16) + (p->src_ip & 0xffff) + (p->dst_ip >> 16) +
			  (p->dst_ip & 0xffff) + IPPROTO_TCP + 20;
	uint16_t sum;

	put_ip(f, p, IPPROTO_TCP, 20, 0);
	put16(f, 40000);
	put16(f, p->port);
	put32(f, 1);
	put32(f, 0);
	put16(f, 0x5000U | flags);
	put16(f, 64240);
	put32(f, 0);
	sum = htons(checksum(f->data + at, 20, pseudo));
	memcpy(f->data + at + 16, &sum, sizeof(sum));
}

static void put_tcp_syn(struct frame *f, const struct probe *p)
{
	put_tcp(f, p, 0x02);
}

static void put_tcp_odd(struct frame *f, const struct probe *p)
{
	put_tcp(f, p, 0x06); // begin and break at once: no connection has that
}

static void put_arp(struct frame *f, const struct probe *p, unsigned operation)
{
	static const uint8_t nobody[6];

	put(f, "\0\1\10\0\6\4", 6);
	put16(f, operation);
	put(f, p->arp_mac, 6);
	put32(f, p->src_ip);
	put(f, operation == 1 ? nobody : p->dst_mac, 6);
	put32(f, p->dst_ip);
}

static void put_arp_request(struct frame *f, const struct probe *p)
{
	put_arp(f, p, 1);
}

static void put_arp_reply(struct frame *f, const struct probe *p)
{
	put_arp(f, p, 2);
}

// A neighbour solicitation from fe80::1 for all nodes
static void put_ipv6_ns(struct frame *f, const struct probe *p)
{
	put32(f, 0x60000000);
	put16(f, 24);
	put16(f, IPPROTO_ICMPV6 << 8 | 255);
	put(f, "\xfe\x80\0\0\0\0\0\0\0\0\0\0\0\0\0\1", 16);
	put(f, "\xff\2\0\0\0\0\0\0\0\0\0\0\0\0\0\1", 16);
	put32(f, 135U << 24);
	put32(f, 0);
	put(f, "\xfe\x80\0\0\0\0\0\0\0\0\0\0", 12);
	put32(f, p->dst_ip);
}

static void put_vlan(struct frame *f, const struct probe *p)
{
	put16(f, p->vlan);
	put16(f, ETH_P_IP);
	put_udp(f, p);
}

static void put_text(struct frame *f, const struct probe *p)
{
	(void)p;
	put(f, "neither IP nor ARP, of some length", 34);
}

// What calls itself IPv4 and ends before the sender's address
static void put_short(struct frame *f, const struct probe *p)
{
	(void)p;
	put(f, "\x45\0\0\x24\0\0\0\0", 8);
}

static void put_short_arp(struct frame *f, const struct probe *p)
{
	(void)p;
	put(f, "\0\1\10\0\6\4\0\2", 8);
}

// IPv4 in all but its version and lengths
static void put_garbage(struct frame *f, const struct probe *p)
{
	const size_t at = f->len;

	put_udp(f, p);
	memcpy(f->data + at, "\x51\xff\xff\xff", 4);
}

static const struct kind {
	const char *name;
	uint16_t type;
	void (*put)(struct frame *f, const struct probe *p);
} kinds[] = {
	{ "udp", ETH_P_IP, put_udp },
	{ "tcp-syn", ETH_P_IP, put_tcp_syn },
	{ "tcp-odd", ETH_P_IP, put_tcp_odd },
	{ "fragment", ETH_P_IP, put_fragment },
	{ "fragment-rest", ETH_P_IP, put_fragment_rest },
	{ "arp-request", ETH_P_ARP, put_arp_request },
	{ "arp-reply", ETH_P_ARP, put_arp_reply },
	{ "ipv6-ns", ETH_P_IPV6, put_ipv6_ns },
	{ "vlan", ETH_P_8021Q, put_vlan },
	{ "qinq", ETH_P_8021AD, put_vlan },
	{ "other", 0x88b5, put_text },
	{ "short", ETH_P_IP, put_short },
	{ "short-arp", ETH_P_ARP, put_short_arp },
	{ "garbage", ETH_P_IP, put_garbage },
};

static const struct kind *find_kind(const char *name)
{
	for (size_t i = 0; i < COUNT(kinds); i++)
		if (str_eq(kinds[i].name, name))
			return &kinds[i];
	return NULL;
}

// --- send --------------------------------------------------------------------------------------

static int parse_mac(const char *text, uint8_t out[6], struct err *e)
{
	struct ether_addr a;

	if (!ether_aton_r(text, &a))
		return err_usage(e, "'%.32s' is no MAC address", text);
	memcpy(out, a.ether_addr_octet, 6);
	return 0;
}

static int ask_link(const char *name, unsigned long what, struct ifreq *r, struct err *e)
{
	cleanup_fd int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (COPY(r->ifr_name, name) < 0)
		return err_usage(e, "'%.32s' is no interface's name", name);
	return fd < 0 || ioctl(fd, what, r) < 0 ? err_sys(e, "addresses of %s", name) : 0;
}

static int own_addresses(const char *name, struct probe *p, struct err *e)
{
	struct ifreq r = { 0 };
	struct sockaddr_in in;

	if (!arg_src_mac && ask_link(name, SIOCGIFHWADDR, &r, e) < 0)
		return -e->no;
	memcpy(p->src_mac, r.ifr_hwaddr.sa_data, 6);
	if (!arg_src_ip && ask_link(name, SIOCGIFADDR, &r, e) < 0)
		return -e->no;
	memcpy(&in, &r.ifr_addr, sizeof(in));
	p->src_ip = ntohl(in.sin_addr.s_addr);
	return 0;
}

static int make_probe(const char *iface, struct probe *p, struct err *e)
{
	p->port = (uint16_t)arg_port;
	p->vlan = (uint16_t)arg_vlan;
	if (own_addresses(iface, p, e) < 0 ||
	    (arg_src_mac && parse_mac(arg_src_mac, p->src_mac, e) < 0) ||
	    (arg_src_ip && ip_parse(arg_src_ip, &p->src_ip, e) < 0))
		return -e->no;
	memcpy(p->arp_mac, p->src_mac, 6);
	if (arg_arp_mac && parse_mac(arg_arp_mac, p->arp_mac, e) < 0)
		return -e->no;
	if (parse_mac(arg_dst_mac, p->dst_mac, e) < 0)
		return -e->no;
	return ip_parse(arg_dst_ip, &p->dst_ip, e);
}

static int open_packet(const char *iface, struct sockaddr_ll *ret, struct err *e)
{
	cleanup_fd int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);

	*ret = (struct sockaddr_ll){ .sll_family = AF_PACKET,
				     .sll_protocol = htons(ETH_P_ALL),
				     .sll_ifindex = (int)if_nametoindex(iface) };
	if (fd < 0)
		return err_sys(e, "packet socket");
	if (!ret->sll_ifindex)
		return err_sys(e, "%s", iface);
	return steal_fd(&fd);
}

static int run_send(const struct call *call, struct buf *out, struct err *e)
{
	const struct kind *kind = find_kind(call->argv[1]);
	struct frame f = { .len = 0 };
	struct probe p = { .port = 0 };
	struct sockaddr_ll to;
	cleanup_fd int fd = -1;

	(void)out;
	if (!kind)
		return err_usage(e, "'%.32s' is no kind of frame", call->argv[1]);
	fd = open_packet(call->argv[0], &to, e);
	if (fd < 0 || make_probe(call->argv[0], &p, e) < 0)
		return -e->no;
	put(&f, p.dst_mac, 6);
	put(&f, p.src_mac, 6);
	put16(&f, kind->type);
	kind->put(&f, &p);
	for (uint64_t i = 0; i < arg_frames; i++)
		if (sendto(fd, f.data, f.len, 0, (const struct sockaddr *)&to, sizeof(to)) < 0)
			return err_sys(e, "send");
	return 0;
}

// --- sniff -------------------------------------------------------------------------------------

static void print_ip(const uint8_t *p, size_t len)
{
	const size_t head = len >= 20 ? (p[0] & 15U) * 4 : 0;
	const unsigned offset = len >= 20 ? get(p + 6, 2) & 0x3fff : 0;
	char from[16], to[16];

	if (head < 20 || len < head + 4) {
		printf(" ip damaged");
		return;
	}
	(void)inet_ntop(AF_INET, p + 12, from, sizeof(from));
	(void)inet_ntop(AF_INET, p + 16, to, sizeof(to));
	printf(" %s > %s%s", from, to, offset ? " fragment" : "");
	if (p[9] == IPPROTO_ICMP)
		printf(" icmp %u", p[head]);
	else if (p[9] == IPPROTO_UDP || p[9] == IPPROTO_TCP)
		printf(" %s %u > %u", p[9] == IPPROTO_TCP ? "tcp" : "udp", get(p + head, 2),
		       get(p + head + 2, 2));
	else
		printf(" proto %u", p[9]);
}

static void print_mac(const uint8_t *p)
{
	printf(" %02x:%02x:%02x:%02x:%02x:%02x", p[0], p[1], p[2], p[3], p[4], p[5]);
}

static void print_arp(const uint8_t *p, size_t len)
{
	char from[16], to[16];

	if (len < 28)
		return;
	(void)inet_ntop(AF_INET, p + 14, from, sizeof(from));
	(void)inet_ntop(AF_INET, p + 24, to, sizeof(to));
	printf(" arp %s %s is", get(p + 6, 2) == 2 ? "reply" : "request", from);
	print_mac(p + 8);
	printf(" > %s", to);
}

// The tag is where the kernel put it when it took it out of the frame.
static bool is_tagged(struct msghdr *m, unsigned *vlan)
{
	struct tpacket_auxdata aux;
	const struct cmsghdr *c = CMSG_FIRSTHDR(m);

	if (!c || c->cmsg_level != SOL_PACKET || c->cmsg_type != PACKET_AUXDATA ||
	    c->cmsg_len < CMSG_LEN(sizeof(aux)))
		return false;
	memcpy(&aux, CMSG_DATA(c), sizeof(aux));
	*vlan = aux.tp_vlan_tci & 0xfffU;
	return aux.tp_status & TP_STATUS_VLAN_VALID;
}

// in|out TYPE SOURCE > DESTINATION [vlan N] [what is in it]
static void print_frame(const struct frame *f, const struct sockaddr_ll *from, struct msghdr *m)
{
	const unsigned type = get(f->data + 12, 2);
	unsigned vlan;

	printf("%s %04x", from->sll_pkttype == PACKET_OUTGOING ? "out" : "in", type);
	print_mac(f->data + 6);
	printf(" >");
	print_mac(f->data);
	if (is_tagged(m, &vlan))
		printf(" vlan %u", vlan);
	if (type == ETH_P_IP)
		print_ip(f->data + 14, f->len - 14);
	if (type == ETH_P_ARP)
		print_arp(f->data + 14, f->len - 14);
	(void)putchar('\n');
	(void)fflush(stdout);
}

static bool is_last(const struct frame *f)
{
	return arg_until && f->len >= 38 && get(f->data + 12, 2) == ETH_P_IP &&
	       f->data[14] == 0x45 && f->data[23] == IPPROTO_UDP &&
	       get(f->data + 36, 2) == arg_until;
}

// 1 when it was the one that --until waits for
static int sniff_one(int fd, struct err *e)
{
	char control[CMSG_SPACE(sizeof(struct tpacket_auxdata))];
	struct frame f;
	struct sockaddr_ll from;
	struct iovec iov = { .iov_base = f.data, .iov_len = sizeof(f.data) };
	struct msghdr m = { .msg_name = &from,
			    .msg_namelen = sizeof(from),
			    .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control,
			    .msg_controllen = sizeof(control) };
	ssize_t n = recvmsg(fd, &m, MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN || errno == ENETDOWN ? 0 : err_sys(e, "receive");
	f.len = (size_t)n;
	if (f.len < 14)
		return 0;
	print_frame(&f, &from, &m);
	return is_last(&f);
}

static bool wait_for(int fd, short events, int64_t deadline)
{
	struct pollfd p = { .fd = fd, .events = events };

	return poll(&p, 1, (int)clock_left(deadline)) > 0;
}

static void say_ready(void)
{
	(void)puts("ready");
	(void)fflush(stdout);
}

static int run_sniff(const struct call *call, struct buf *out, struct err *e)
{
	static const int on = 1;
	struct packet_mreq all = { .mr_type = PACKET_MR_PROMISC };
	struct sockaddr_ll at;
	cleanup_fd int fd = open_packet(call->argv[0], &at, e);
	uint64_t ms;
	int64_t deadline;
	int got = 0;

	(void)out;
	if (fd < 0 || num_duration_ms(call->argv[1], TIME_MAX, &ms, e) < 0)
		return -e->no;
	all.mr_ifindex = at.sll_ifindex;
	if (setsockopt(fd, SOL_PACKET, PACKET_AUXDATA, &on, sizeof(on)) < 0 ||
	    setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &all, sizeof(all)) < 0 ||
	    bind(fd, (const struct sockaddr *)&at, sizeof(at)) < 0)
		return err_sys(e, "sniff on %s", call->argv[0]);
	say_ready();
	deadline = clock_ms() + (int64_t)ms;
	for (int i = 0; i < LINES_MAX && got == 0 && wait_for(fd, POLLIN, deadline); i++)
		got = sniff_one(fd, e);
	if (got < 0)
		return got;
	return arg_until && got == 0 ? err_kind(e, ERR_TIMEOUT, "the last frame did not come") : 0;
}

// --- sockets -----------------------------------------------------------------------------------

struct where {
	int type; // SOCK_*
	struct sockaddr_in addr;
};

// PROTO ADDRESS PORT
static int parse_where(char **argv, struct where *w, struct err *e)
{
	uint32_t ip;
	uint64_t port;

	if (!str_eq(argv[0], "tcp") && !str_eq(argv[0], "udp"))
		return err_usage(e, "'%.32s' is neither tcp nor udp", argv[0]);
	if (ip_parse(argv[1], &ip, e) < 0 || num_u64(argv[2], 1, 65535, &port, e) < 0)
		return -e->no;
	w->type = str_eq(argv[0], "tcp") ? SOCK_STREAM : SOCK_DGRAM;
	w->addr = (struct sockaddr_in){ .sin_family = AF_INET,
					.sin_port = htons((uint16_t)port),
					.sin_addr.s_addr = htonl(ip) };
	return 0;
}

struct server {
	struct pollfd fds[PEERS_MAX + 1]; // the first is the one that is listened on
	nfds_t count;
	uint64_t bytes;
	int64_t first_ms, last_ms;
};

static void print_peer(const struct sockaddr_in *from)
{
	char text[INET_ADDRSTRLEN] = "";

	if (arg_sink)
		return;
	(void)inet_ntop(AF_INET, &from->sin_addr, text, sizeof(text));
	printf("%s\n", text);
	(void)fflush(stdout);
}

static void accept_peer(struct server *s)
{
	struct sockaddr_in from = { 0 };
	socklen_t len = sizeof(from);
	int fd =
		accept4(s->fds[0].fd, (struct sockaddr *)&from, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	print_peer(&from);
	if (s->count > PEERS_MAX)
		(void)close(fd);
	else
		s->fds[s->count++] = (struct pollfd){ .fd = fd, .events = POLLIN };
}

static void answer(struct server *s, struct pollfd *p, bool is_stream)
{
	static uint8_t data[65536];
	struct sockaddr_in from = { 0 };
	socklen_t len = sizeof(from);
	ssize_t n =
		recvfrom(p->fd, data, sizeof(data), MSG_DONTWAIT, (struct sockaddr *)&from, &len);

	if (n <= 0 && is_stream) { // gone: poll passes over negative descriptors
		(void)close(p->fd);
		p->fd = -1;
	}
	if (n <= 0)
		return;
	s->bytes += (size_t)n;
	s->last_ms = clock_ms();
	if (!s->first_ms)
		s->first_ms = s->last_ms;
	if (!is_stream)
		print_peer(&from);
	if (!arg_sink)
		(void)sendto(p->fd, data, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL,
			     is_stream ? NULL : (const struct sockaddr *)&from,
			     is_stream ? 0 : len);
}

static int open_server(const struct where *w, struct err *e)
{
	static const int on = 1, room = 8 << 20;
	cleanup_fd int fd = socket(AF_INET, w->type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
	    bind(fd, (const struct sockaddr *)&w->addr, sizeof(w->addr)) < 0 ||
	    (w->type == SOCK_STREAM && listen(fd, PEERS_MAX) < 0))
		return err_sys(e, "listen");
	if (w->type == SOCK_DGRAM)
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
	return steal_fd(&fd);
}

static void serve(struct server *s, bool is_stream, int64_t deadline)
{
	while (poll(s->fds, s->count, (int)clock_left(deadline)) > 0 && clock_left(deadline)) {
		const nfds_t count = s->count;

		for (nfds_t i = 0; i < count; i++)
			if (s->fds[i].revents && i == 0 && is_stream)
				accept_peer(s);
			else if (s->fds[i].revents)
				answer(s, &s->fds[i], is_stream);
	}
}

static int run_listen(const struct call *call, struct buf *out, struct err *e)
{
	struct server s = { .count = 1 };
	cleanup_fd int fd = -1;
	struct where w;
	uint64_t ms;

	(void)out;
	if (parse_where(call->argv, &w, e) < 0 ||
	    num_duration_ms(call->argv[3], TIME_MAX, &ms, e) < 0)
		return -e->no;
	fd = open_server(&w, e);
	if (fd < 0)
		return fd;
	s.fds[0] = (struct pollfd){ .fd = fd, .events = POLLIN };
	say_ready();
	serve(&s, w.type == SOCK_STREAM, clock_ms() + (int64_t)ms);
	if (arg_sink)
		printf("%llu bytes in %lld ms\n", (unsigned long long)s.bytes,
		       (long long)(s.last_ms - s.first_ms));
	return 0;
}

// Words and statuses of connect
enum { REACHED = 0, REFUSED = 1, LATE = 124 };

static int outcome(int no)
{
	(void)puts(no == ECONNREFUSED			     ? "refused"
		   : no == EHOSTUNREACH || no == ENETUNREACH ? "unreachable"
		   : no == ECONNRESET			     ? "reset"
							     : "timeout");
	return no == ETIMEDOUT ? LATE : REFUSED;
}

// The error of a socket, or ETIMEDOUT when nothing happened.
static int wait_socket(int fd, short events)
{
	socklen_t len = sizeof(int);
	int no = 0;

	if (!wait_for(fd, events, clock_ms() + (int64_t)arg_timeout_ms))
		return ETIMEDOUT;
	(void)getsockopt(fd, SOL_SOCKET, SO_ERROR, &no, &len);
	return no;
}

// One question and its answer; 0 or an errno value.
static int ask(int fd)
{
	char text[16];
	int no;

	if (send(fd, "a probe\n", 8, MSG_NOSIGNAL) < 0)
		return errno;
	no = wait_socket(fd, POLLIN);
	if (no)
		return no;
	return recv(fd, text, sizeof(text), 0) > 0 ? 0 : ECONNRESET;
}

static int run_connect(const struct call *call, struct buf *out, struct err *e)
{
	const struct sockaddr_in own = { .sin_family = AF_INET,
					 .sin_port = htons((uint16_t)arg_from) };
	cleanup_fd int fd = -1;
	struct where w;
	int no = 0;

	(void)out;
	if (parse_where(call->argv, &w, e) < 0)
		return -e->no;
	fd = socket(AF_INET, w.type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || bind(fd, (const struct sockaddr *)&own, sizeof(own)) < 0)
		return err_sys(e, "socket");
	if (connect(fd, (const struct sockaddr *)&w.addr, sizeof(w.addr)) < 0)
		no = errno == EINPROGRESS ? wait_socket(fd, POLLOUT) : errno;
	for (uint64_t i = 0; i < arg_rounds && !no; i++) {
		if (i)
			clock_sleep_ms((int64_t)arg_interval_ms);
		no = ask(fd);
		if (!no) {
			(void)puts("reached");
			(void)fflush(stdout);
		}
	}
	return no ? outcome(no) : REACHED;
}

// Sends until the deadline, never ahead of the rate.
static uint64_t blast(int fd, int64_t start, int64_t deadline)
{
	static uint8_t data[CHUNK];
	uint64_t sent = 0;

	while (clock_left(deadline)) {
		const uint64_t due = (uint64_t)(clock_ms() - start) * arg_kbit / 8;

		if (arg_kbit && sent > due) {
			clock_sleep_ms(1);
			continue;
		}
		if (send(fd, data, sizeof(data), MSG_NOSIGNAL | MSG_DONTWAIT) > 0)
			sent += sizeof(data);
		else if (!wait_for(fd, POLLOUT, MIN(deadline, clock_ms() + 10)))
			clock_sleep_ms(1);
	}
	return sent;
}

static int run_blast(const struct call *call, struct buf *out, struct err *e)
{
	cleanup_fd int fd = -1;
	struct where w;
	uint64_t ms;
	int64_t start;

	(void)out;
	if (parse_where(call->argv, &w, e) < 0 ||
	    num_duration_ms(call->argv[3], TIME_MAX, &ms, e) < 0)
		return -e->no;
	fd = socket(AF_INET, w.type | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (const struct sockaddr *)&w.addr, sizeof(w.addr)) < 0)
		return err_sys(e, "connect");
	say_ready();
	start = clock_ms();
	printf("%llu bytes sent\n", (unsigned long long)blast(fd, start, start + (int64_t)ms));
	return 0;
}

#define TEXT(n, a, h, s)                                                            \
	{                                                                           \
		.kind = OPT_TEXT, .name = (n), .arg = (a), .help = (h), .slot = (s) \
	}
#define NUMBER(n, lo, hi, h, s)                                                                  \
	{                                                                                        \
		.kind = OPT_U64, .name = (n), .arg = "N", .help = (h), .slot = (s), .min = (lo), \
		.max = (hi)                                                                      \
	}
#define MS(n, h, s)                                                                             \
	{                                                                                       \
		.kind = OPT_MS, .name = (n), .arg = "TIME", .help = (h), .slot = (s), .min = 1, \
		.max = TIME_MAX                                                                 \
	}
static const struct opt send_opts[] = {
	TEXT("src-mac", "MAC", "sender of the frame instead of the interface", &arg_src_mac),
	TEXT("dst-mac", "MAC", "receiver instead of everybody", &arg_dst_mac),
	TEXT("src-ip", "ADDRESS", "sender in IP or ARP instead of the interface's", &arg_src_ip),
	TEXT("dst-ip", "ADDRESS", "receiver in IP or ARP", &arg_dst_ip),
	TEXT("arp-mac", "MAC", "sender in ARP, where it differs", &arg_arp_mac),
	NUMBER("port", 1, 65535, "port it goes to", &arg_port),
	NUMBER("vlan", 0, 4095, "number in the tag of vlan and qinq", &arg_vlan),
	NUMBER("count", 1, 10000, "so many of them", &arg_frames),
	OPT_END
};
static const struct opt sniff_opts[] = {
	NUMBER("until", 1, 65535, "end with a datagram to this port; 124 if none comes",
	       &arg_until),
	OPT_END
};
static const struct opt listen_opts[] = {
	{ .kind = OPT_FLAG, .name = "sink", .help = "count, do not answer", .slot = &arg_sink },
	OPT_END
};
static const struct opt connect_opts[] = {
	MS("timeout", "how long each answer may take", &arg_timeout_ms),
	MS("interval", "between two questions", &arg_interval_ms),
	NUMBER("from", 1, 65535, "port to ask from", &arg_from),
	NUMBER("count", 1, 100000, "questions in a row, in one connection", &arg_rounds), OPT_END
};
static const struct opt blast_opts[] = {
	NUMBER("kbit", 1, 10000000, "no more than that in a second", &arg_kbit), OPT_END
};

static const struct verb verbs[] = {
	{ "send", "IFACE KIND", "send frames", send_opts, 2, 2, run_send, VERB_RAW },
	{ "sniff", "IFACE TIME", "print frames", sniff_opts, 2, 2, run_sniff, VERB_RAW },
	{ "listen", "PROTO ADDRESS PORT TIME", "answer", listen_opts, 4, 4, run_listen, VERB_RAW },
	{ "connect", "PROTO ADDRESS PORT", "ask", connect_opts, 3, 3, run_connect, VERB_RAW },
	{ "blast", "PROTO ADDRESS PORT TIME", "send in bulk", blast_opts, 4, 4, run_blast,
	  VERB_RAW },
};

int main(int argc, char **argv)
{
	static const struct tool tool = { "frame", "Frames and sockets for tests", verbs,
					  COUNT(verbs), NULL };

	return tool_main(&tool, argc, argv);
}
