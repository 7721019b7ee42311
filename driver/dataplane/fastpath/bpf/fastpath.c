// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

// The fast path of weft's networks: five programs that carry TCP and UDP between
// containers around the bridge, the VXLAN device and the host's netfilter. What they
// do not know for sure they leave to those, so the wire has the same packets.
//
//   container eth0 ══ port ─ from_port ─┐                 (namespace of the network)
//                                       │ to a container of this host: redirect_peer(port)
//                                       ├ directly: MACs of the hosts, redirect_peer(inner)
//                                       └ else outer headers, redirect_peer(inner)
//   inner ══ outer ─ to_wire ─ redirect(uplink), or redirect_neigh  (namespace of the host)
//
//   uplink ─ from_wire ─ outer headers away, or MACs of the containers,
//                        redirect_peer(outer)                       (host)
//   outer ══ inner ─ to_port ─ redirect_peer(port)                  (network)
//
//   vx0 ─ from_tunnel ─ redirect_peer(port)                         (network)
//
// "══" is a veth pair. inner and outer are one pair for each network, which nothing
// ever crosses by its queues.
//
// A packet that goes directly is the container's own between the MACs of the hosts,
// without a tunnel. Its TTL is 255 on the wire, which none has that a router has passed on
// (RFC 5082): so nobody gets a packet of his by one host's routes from that host's MAC to
// another. To the containers it is one segment, as it is in the tunnel, so they see the
// TTL of 64 again, and what has another one takes the tunnel.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define SLOW TC_ACT_UNSPEC // go on to the bridge, or to the host's stack

#define PACKET_HOST 0 // linux/if_packet.h

// BPF_F_ADJ_ROOM_DECAP_L3_IPV6 of linux/bpf.h, which is younger (6.3) than the
// headers that this is compiled with.
#define DECAP_L3_IPV6 (1ULL << 8)

#define IP_FRAGMENT 0x3fff // MF and the offset, RFC 791 section 3.1
#define ECN_MASK 3
#define ECN_ECT0 2
#define ECN_CE 3

// A server's DHCP answers go to these ports (RFC 2131 section 4.1, RFC 8415 section
// 7.2). Which of them may pass is for the guard of the port.
#define DHCP_CLIENT 68
#define DHCPV6_CLIENT 546

#define VXLAN_FLAGS bpf_htonl(0x08000000) // RFC 7348 section 5: the VNI is valid
#define TUNNEL_TTL 64			  // as the kernel's tunnels have by default (net.ipv4.ip_default_ttl)

// Source ports are in the range of net.ipv4.ip_local_port_range by default, as
// those of the kernel's tunnels are.
#define PORT_MIN 32768
#define PORT_RANGE (60999 - PORT_MIN)

// What cb[0] says on the way from one program to the next.
#define TO_WIRE 0x77656674
#define TO_PORT 0x77656675
#define TO_NEIGHBOUR 0x77656676
#define TO_BRIDGE 0x77656677

#define USUAL_TTL 64  // what containers' systems begin with (net.ipv4.ip_default_ttl)
#define WIRE_TTL 255

#define PROBE_MAGIC bpf_htonl(0x77656674)

struct vxlanhdr {
	__be32 flags;
	__be32 vni; // in the upper three bytes
} __attribute__((packed));

// An address of either family, IPv4 as ::ffff:a.b.c.d (RFC 4291 section 2.5.5.2).
struct addr {
	__be32 word[4];
};

struct host {
	__u64 until; // CLOCK_MONOTONIC in ns: after it, everything takes the slow way
	__u64 takes; // likewise: until then packets without a tunnel are taken
	struct addr vtep;
	__u32 uplink;
	__be16 port;
	__u8 mac[ETH_ALEN]; // of the uplink
	__u32 pad;
};

struct port_key {
	__u32 vni;
	__u32 link; // in the network's namespace
};

struct port {
	__u8 mac[ETH_ALEN];
	__u16 mtu;
	__be32 ip4; // 0: none
	__be32 ip6[4]; // 0: none
	__u32 told; // 0: other hosts may not know of its addresses yet, so nothing goes directly
};

struct mac_key {
	__u32 vni;
	__u8 mac[ETH_ALEN];
	__u16 pad;
};

// Where a MAC is: at a port of this host, or behind a VTEP.
struct place {
	__u32 link;  // of the port; 0: it is behind vtep
	__u32 outer; // the network's link in the host's namespace
	struct addr vtep;
};

struct member_key {
	__u32 vni;
	struct addr vtep;
};

// Where a container's address is.
struct home {
	__u32 vni;
	__u32 outer;	 // the network's link in the host's namespace; 0: it is at vtep
	__u32 link;	 // of its port; or of the VXLAN device, behind which the bridge is
	__u8 mac[ETH_ALEN];
	__u8 bridged;	 // no port has it: the bridge is to see what becomes of the packet
	__u8 pad;
	struct addr vtep;
};

// Packets of a network go directly to another host for as long as a lease lasts. Who
// gives it has seen a probe come and go a moment before.
struct lease {
	__u64 until; // CLOCK_MONOTONIC in ns
	__u8 mac[ETH_ALEN];
	__u16 pad;
};

// What probes carry, behind the UDP header.
struct probe {
	__be32 magic;
	__be32 kind; // a question or an answer
	__u64 nonce;
} __attribute__((packed));

// What is told of a probe that has come the way of the containers' packets.
struct probed {
	__u64 nonce;
	__u32 vni;
	__u32 kind;
	struct addr vtep; // of the host that has sent it
	struct addr src, dst;
};

// A hash's size costs memory from the start, 16 bytes each. A network that does not
// find room takes the slow way.

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct host);
} weft_host SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 16);
	__type(key, struct port_key);
	__type(value, struct port);
} weft_ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 17);
	__type(key, struct mac_key);
	__type(value, struct place);
} weft_places SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 17);
	__type(key, struct member_key);
	__type(value, __u8);
} weft_members SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 17);
	__type(key, struct addr);
	__type(value, struct home);
} weft_homes SEC(".maps");

// The MACs from which the members of a network send directly, and their VTEPs.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 17);
	__type(key, struct mac_key);
	__type(value, struct addr);
} weft_nics SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 12);
	__type(key, struct member_key);
	__type(value, struct lease);
} weft_leases SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 16); // whole pages, of 64 KiB on some machines
} weft_probes SEC(".maps");

enum { SENT, RECEIVED, LOCAL, SENT_DIRECT, RECEIVED_DIRECT, COUNTS };

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTS);
	__type(key, __u32);
	__type(value, __u64);
} weft_counts SEC(".maps");

// Of the network in which from_port and from_tunnel are.
volatile const __u32 vni;
volatile const __u32 inner;

static __always_inline void count(__u32 what)
{
	__u64 *n = bpf_map_lookup_elem(&weft_counts, &what);

	if (n)
		(*n)++;
}

static __always_inline struct host *this_host(void)
{
	__u32 key = 0;

	return bpf_map_lookup_elem(&weft_host, &key);
}

// The host, if the fast path is to be taken.
static __always_inline struct host *open_host(void)
{
	struct host *h = this_host();

	return h && bpf_ktime_get_coarse_ns() < h->until ? h : NULL;
}

static __always_inline int same_mac(const __u8 *a, const __u8 *b)
{
	return !((*(__u16 *)a ^ *(__u16 *)b) | (*(__u16 *)(a + 2) ^ *(__u16 *)(b + 2)) | (*(__u16 *)(a + 4) ^ *(__u16 *)(b + 4)));
}

static __always_inline void copy_mac(__u8 *to, const __u8 *from)
{
	*(__u16 *)to = *(__u16 *)from;
	*(__u16 *)(to + 2) = *(__u16 *)(from + 2);
	*(__u16 *)(to + 4) = *(__u16 *)(from + 4);
}

static __always_inline struct addr mapped(__be32 ip)
{
	return (struct addr){ .word = { 0, 0, bpf_htonl(0xffff), ip } };
}

static __always_inline int is4(const struct addr *a)
{
	return !a->word[0] && !a->word[1] && a->word[2] == bpf_htonl(0xffff);
}

static __always_inline int same_words(const __be32 *a, const __be32 *b)
{
	return !((a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3]));
}

// What a packet of a container says of itself.
struct seen {
	struct addr dst;
	__be16 udp; // the port that it is for; 0: it is TCP
	__u8 ecn;
	__u8 ttl;
};

// What the slow way's guard and MTU would let pass, and no other packet: TCP and UDP
// in one piece from the port's own MAC and address.
static __always_inline int may_send(struct __sk_buff *skb, struct ethhdr *eth, void *end, const struct port *p, struct seen *it)
{
	__u32 size, protocol;
	void *l4;

	if (eth->h_dest[0] & 1 || !same_mac(eth->h_source, p->mac))
		return 0;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = (void *)(eth + 1);

		if ((void *)(ip + 1) > end || *(__u8 *)ip != 0x45 || ip->frag_off & bpf_htons(IP_FRAGMENT))
			return 0;
		if (!p->ip4 || ip->saddr != p->ip4)
			return 0;
		protocol = ip->protocol;
		it->ecn = ip->tos & ECN_MASK;
		it->ttl = ip->ttl;
		it->dst = mapped(ip->daddr);
		l4 = ip + 1;
		size = sizeof(*ip);
	} else if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = (void *)(eth + 1);

		if ((void *)(ip + 1) > end || *(__u8 *)ip >> 4 != 6)
			return 0;
		if (!(p->ip6[0] | p->ip6[1] | p->ip6[2] | p->ip6[3]) || !same_words(ip->saddr.in6_u.u6_addr32, p->ip6))
			return 0;
		protocol = ip->nexthdr;
		it->ecn = ip->flow_lbl[0] >> 4 & ECN_MASK;
		it->ttl = ip->hop_limit;
		__builtin_memcpy(&it->dst, &ip->daddr, sizeof(it->dst));
		l4 = ip + 1;
		size = sizeof(*ip);
	} else {
		return 0;
	}
	if (protocol == IPPROTO_TCP) {
		struct tcphdr *tcp = l4;

		if ((void *)(tcp + 1) > end)
			return 0;
		size += tcp->doff * 4;
	} else if (protocol == IPPROTO_UDP) {
		struct udphdr *udp = l4;

		if ((void *)(udp + 1) > end)
			return 0;
		if (udp->dest == bpf_htons(DHCP_CLIENT) || udp->dest == bpf_htons(DHCPV6_CLIENT))
			return 0;
		it->udp = udp->dest;
		size += sizeof(*udp);
	} else {
		return 0;
	}
	// Of a packet that is to be cut later, each piece has to fit.
	size = skb->gso_size ? size + skb->gso_size : skb->len - ETH_HLEN;
	return size <= p->mtu;
}

struct outer4 {
	struct iphdr ip;
	struct udphdr udp;
	struct vxlanhdr vxlan;
	struct ethhdr eth;
} __attribute__((packed));

static __always_inline __sum16 ip_checksum(const struct iphdr *ip)
{
	const __u16 *w = (const __u16 *)ip;
	__u32 sum = 0;

#pragma unroll
	for (int i = 0; i < 10; i++)
		sum += w[i];
	sum = (sum & 0xffff) + (sum >> 16);
	sum += sum >> 16;
	return ~sum;
}

// Puts the outer headers before a frame: as the kernel's VXLAN device does, but with
// no UDP checksum, which IPv4 allows (RFC 7348 section 5).
static __always_inline int encapsulate(struct __sk_buff *skb, const struct host *h, const struct place *to, const struct ethhdr *eth, __u8 ecn)
{
	struct outer4 out = {};
	struct iphdr ip = {};
	__u32 hash = bpf_get_hash_recalc(skb), len = skb->len;

	if (len + sizeof(out) > 0xffff) // more than a length field holds
		return -1;
	if (bpf_skb_adjust_room(skb, sizeof(out), BPF_ADJ_ROOM_MAC,
				BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | BPF_F_ADJ_ROOM_ENCAP_L4_UDP |
				BPF_F_ADJ_ROOM_ENCAP_L2(ETH_HLEN) | BPF_F_ADJ_ROOM_ENCAP_L2_ETH))
		return -1;
	hash ^= hash << 16;
	ip.version = 4;
	ip.ihl = 5;
	ip.tos = ecn == ECN_CE ? ECN_ECT0 : ecn; // RFC 6040 section 4.1
	ip.tot_len = bpf_htons(len - ETH_HLEN + sizeof(out));
	ip.id = bpf_get_prandom_u32();
	ip.ttl = TUNNEL_TTL;
	ip.protocol = IPPROTO_UDP;
	ip.saddr = h->vtep.word[3];
	ip.daddr = to->vtep.word[3];
	ip.check = ip_checksum(&ip);
	out.ip = ip;
	out.udp.source = bpf_htons(PORT_MIN + (((__u64)hash * PORT_RANGE) >> 32));
	out.udp.dest = h->port;
	out.udp.len = bpf_htons(len - ETH_HLEN + sizeof(out) - sizeof(out.ip));
	out.vxlan.flags = VXLAN_FLAGS;
	out.vxlan.vni = bpf_htonl(vni << 8);
	out.eth = *eth;
	return bpf_skb_store_bytes(skb, ETH_HLEN, &out, sizeof(out), 0);
}

// Gives a packet another TTL.
static __always_inline int age(struct __sk_buff *skb, __be16 proto, __u8 from, __u8 to)
{
	if (proto == bpf_htons(ETH_P_IPV6))
		return bpf_skb_store_bytes(skb, ETH_HLEN + offsetof(struct ipv6hdr, hop_limit), &to, sizeof(to), BPF_F_RECOMPUTE_CSUM);
	// A sum over all of the packet stays, since that of its header does.
	if (bpf_l3_csum_replace(skb, ETH_HLEN + offsetof(struct iphdr, check), bpf_htons(from << 8), bpf_htons(to << 8), sizeof(__be16)))
		return -1;
	return bpf_skb_store_bytes(skb, ETH_HLEN + offsetof(struct iphdr, ttl), &to, sizeof(to), 0);
}

// The lease by which the packet may go directly to the host that has its MAC, which has
// to be that of its address: that host finds the container by the address alone. What is
// for the tunnels' port would be taken for a probe.
static __always_inline struct lease *may_go(const struct host *h, const struct place *to, const struct mac_key *dest, const struct seen *it)
{
	struct member_key at = { .vni = vni, .vtep = to->vtep };
	struct lease *l = bpf_map_lookup_elem(&weft_leases, &at);
	struct home *home;

	if (!l || bpf_ktime_get_coarse_ns() >= l->until || it->udp == h->port || it->ttl != USUAL_TTL)
		return NULL;
	home = bpf_map_lookup_elem(&weft_homes, &it->dst);
	if (!home || home->outer || home->vni != vni || !same_mac(home->mac, dest->mac) || !same_words(home->vtep.word, to->vtep.word))
		return NULL;
	return l;
}

// At the ingress of each port: what a container sends.
SEC("tc")
int weft_from_port(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct port_key from = { .vni = vni, .link = skb->ifindex };
	struct mac_key dest = { .vni = vni };
	struct ethhdr *eth = data, copy;
	struct seen it = {};
	struct lease *l;
	struct place *to;
	struct port *p;
	struct host *h;
	__be16 proto;

	if ((void *)(eth + 1) > end || skb->vlan_present)
		return SLOW;
	p = bpf_map_lookup_elem(&weft_ports, &from);
	if (!p || !may_send(skb, eth, end, p, &it))
		return SLOW;
	copy_mac(dest.mac, eth->h_dest);
	to = bpf_map_lookup_elem(&weft_places, &dest);
	if (!to)
		return SLOW;
	h = open_host();
	if (!h)
		return SLOW;
	if (to->link) {
		if (bpf_skb_change_type(skb, PACKET_HOST))
			return SLOW;
		count(LOCAL);
		return bpf_redirect_peer(to->link, 0);
	}
	if (!is4(&to->vtep) || !is4(&h->vtep))
		return SLOW;
	copy_mac(copy.h_dest, eth->h_dest);
	copy_mac(copy.h_source, eth->h_source);
	copy.h_proto = eth->h_proto;
	l = p->told ? may_go(h, to, &dest, &it) : NULL;
	if (l) {
		copy_mac(copy.h_dest, l->mac);
		copy_mac(copy.h_source, h->mac);
		if (bpf_skb_store_bytes(skb, 0, &copy, sizeof(copy), 0) || age(skb, copy.h_proto, USUAL_TTL, WIRE_TTL))
			return TC_ACT_SHOT;
		count(SENT_DIRECT);
		skb->cb[0] = TO_NEIGHBOUR;
		return bpf_redirect_peer(inner, 0);
	}
	if (encapsulate(skb, h, to, &copy, it.ecn))
		return SLOW;
	proto = bpf_htons(ETH_P_IP);
	bpf_skb_store_bytes(skb, offsetof(struct ethhdr, h_proto), &proto, sizeof(proto), 0);
	count(SENT);
	skb->cb[0] = TO_WIRE;
	return bpf_redirect_peer(inner, 0);
}

// At the ingress of outer: what from_port has put other headers before. It is on its
// way, whatever has ended meanwhile.
SEC("tc")
int weft_to_wire(struct __sk_buff *skb)
{
	struct host *h = this_host();

	if (h && skb->cb[0] == TO_WIRE)
		return bpf_redirect_neigh(h->uplink, NULL, 0, 0);
	if (h && skb->cb[0] == TO_NEIGHBOUR)
		return bpf_redirect(h->uplink, 0);
	return TC_ACT_SHOT;
}

struct tunnel4 {
	struct ethhdr eth;
	struct iphdr ip;
	struct udphdr udp;
	struct vxlanhdr vxlan;
	struct ethhdr inner;
} __attribute__((packed));

// The container of this host to which a packet without a tunnel may come, and the one
// that has sent it: both are in one network, and the packet is from the MAC of the host
// that has its source.
static __always_inline struct home *may_come(const struct host *h, const struct addr *src, const struct addr *dst, const __u8 *nic, struct home **from)
{
	struct home *to = bpf_map_lookup_elem(&weft_homes, dst);
	struct mac_key key = {};
	struct addr *vtep;

	if (!to || !to->outer || bpf_ktime_get_coarse_ns() >= h->takes)
		return NULL;
	key.vni = to->vni;
	copy_mac(key.mac, nic);
	vtep = bpf_map_lookup_elem(&weft_nics, &key);
	*from = bpf_map_lookup_elem(&weft_homes, src);
	if (!vtep || !*from || (*from)->outer || (*from)->vni != to->vni || !same_words((*from)->vtep.word, vtep->word))
		return NULL;
	return to;
}

// What other hosts send without a tunnel. Whatever does not belong together is a
// stranger's packet: the host's stack has no way to a container for it.
static __always_inline int from_neighbour(struct __sk_buff *skb, const struct host *h, const struct ethhdr *eth, const struct addr *src, const struct addr *dst,
					  __u8 protocol, const struct udphdr *udp, const void *end)
{
	const struct probe *probe = (void *)(udp + 1);
	struct ethhdr new = { .h_proto = eth->h_proto };
	struct home *from = NULL, *to;

	if (protocol != IPPROTO_TCP && (protocol != IPPROTO_UDP || (void *)(udp + 1) > end))
		return SLOW;
	to = may_come(h, src, dst, eth->h_source, &from);
	if (!to || !from)
		return SLOW;
	if (protocol == IPPROTO_UDP && (void *)(udp + 1) <= end && udp->dest == h->port) {
		struct probed told = {};

		if ((void *)(probe + 1) > end || probe->magic != PROBE_MAGIC)
			return SLOW;
		told.nonce = probe->nonce;
		told.kind = bpf_ntohl(probe->kind);
		told.vni = to->vni;
		told.vtep = from->vtep;
		told.src = *src;
		told.dst = *dst;
		bpf_ringbuf_output(&weft_probes, &told, sizeof(told), 0);
		return TC_ACT_SHOT; // it was for weft
	}
	copy_mac(new.h_dest, to->mac);
	copy_mac(new.h_source, from->mac);
	if (bpf_skb_store_bytes(skb, 0, &new, sizeof(new), 0) || age(skb, new.h_proto, WIRE_TTL, USUAL_TTL))
		return TC_ACT_SHOT;
	count(RECEIVED_DIRECT);
	skb->cb[0] = to->bridged ? TO_BRIDGE : TO_PORT;
	skb->cb[1] = to->link;
	return bpf_redirect_peer(to->outer, 0);
}

static __always_inline int from_neighbour4(struct __sk_buff *skb, const struct host *h, const struct ethhdr *eth, void *end)
{
	const struct iphdr *ip = (void *)(eth + 1);
	struct addr src = mapped(ip->saddr), dst = mapped(ip->daddr);

	if (*(__u8 *)ip != 0x45 || ip->frag_off & bpf_htons(IP_FRAGMENT) || ip->ttl != WIRE_TTL)
		return SLOW;
	return from_neighbour(skb, h, eth, &src, &dst, ip->protocol, (void *)(ip + 1), end);
}

static __always_inline int from_neighbour6(struct __sk_buff *skb, const struct host *h, const struct ethhdr *eth, void *end)
{
	const struct ipv6hdr *ip = (void *)(eth + 1);
	struct addr src, dst;

	if (*(__u8 *)ip >> 4 != 6 || ip->hop_limit != WIRE_TTL)
		return SLOW;
	__builtin_memcpy(&src, &ip->saddr, sizeof(src));
	__builtin_memcpy(&dst, &ip->daddr, sizeof(dst));
	if (is4(&src) || is4(&dst)) // addresses of IPv4, which no packet of IPv6 has
		return SLOW;
	return from_neighbour(skb, h, eth, &src, &dst, ip->nexthdr, (void *)(ip + 1), end);
}

// Brings the first bytes of the packet to where programs read, as many as there are.
static __always_inline int readable(struct __sk_buff *skb, __u32 size)
{
	if ((void *)(long)skb->data + size <= (void *)(long)skb->data_end)
		return 1;
	return !bpf_skb_pull_data(skb, skb->len < size ? skb->len : size);
}

// At the ingress of the underlay's interface: what other hosts send.
SEC("tc")
int weft_from_wire(struct __sk_buff *skb)
{
	struct tunnel4 *t = (void *)(long)skb->data;
	void *end = (void *)(long)skb->data_end;
	struct member_key from = {};
	struct mac_key dest = {};
	struct ethhdr eth;
	struct place *to;
	struct host *h;
	__u64 flags;

	h = this_host();
	if (!h || skb->pkt_type != PACKET_HOST || skb->vlan_present)
		return SLOW;
	if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		struct ethhdr *first;

		if (!h->takes || !readable(skb, ETH_HLEN + sizeof(struct ipv6hdr) + sizeof(struct udphdr) + sizeof(struct probe)))
			return SLOW;
		first = (void *)(long)skb->data;
		end = (void *)(long)skb->data_end;
		return (void *)first + ETH_HLEN + sizeof(struct ipv6hdr) > end ? SLOW : from_neighbour6(skb, h, first, end);
	}
	if (skb->protocol != bpf_htons(ETH_P_IP))
		return SLOW;
	if (h->takes) {
		struct iphdr *ip;

		if (!readable(skb, ETH_HLEN + sizeof(*ip) + sizeof(struct udphdr) + sizeof(struct probe)))
			return SLOW;
		t = (void *)(long)skb->data;
		end = (void *)(long)skb->data_end;
		ip = (void *)t + ETH_HLEN;
		if ((void *)(ip + 1) > end)
			return SLOW;
		if (ip->daddr != h->vtep.word[3]) // no tunnel ends there
			return from_neighbour4(skb, h, (void *)t, end);
	}
	// Several packets in one keep the mark that they were in a tunnel, which no
	// program can take away, and who cuts them later would go by it. The VXLAN
	// device takes it away.
	if (skb->gso_size)
		return SLOW;
	if ((void *)(t + 1) > end) {
		if (skb->len < sizeof(*t))
			return SLOW;
		h = open_host();
		if (!h || bpf_skb_pull_data(skb, sizeof(*t)))
			return SLOW;
		t = (void *)(long)skb->data;
		end = (void *)(long)skb->data_end;
		if ((void *)(t + 1) > end)
			return SLOW;
	}
	if (t->ip.protocol != IPPROTO_UDP || *(__u8 *)&t->ip != 0x45 || t->ip.frag_off & bpf_htons(IP_FRAGMENT))
		return SLOW;
	h = open_host();
	if (!h || t->udp.dest != h->port || t->ip.daddr != h->vtep.word[3] || !is4(&h->vtep))
		return SLOW;
	if (t->vxlan.flags != VXLAN_FLAGS || (t->ip.tos & ECN_MASK) == ECN_CE)
		return SLOW;
	// Padding, and what else makes these differ, is for the stack.
	if (bpf_ntohs(t->ip.tot_len) != skb->len - ETH_HLEN || bpf_ntohs(t->udp.len) != skb->len - ETH_HLEN - sizeof(t->ip))
		return SLOW;
	from.vni = bpf_ntohl(t->vxlan.vni) >> 8;
	from.vtep = mapped(t->ip.saddr);
	if (!bpf_map_lookup_elem(&weft_members, &from))
		return SLOW;
	dest.vni = from.vni;
	copy_mac(dest.mac, t->inner.h_dest);
	to = bpf_map_lookup_elem(&weft_places, &dest);
	if (!to || !to->link)
		return SLOW;
	flags = BPF_F_ADJ_ROOM_FIXED_GSO;
	if (t->inner.h_proto == bpf_htons(ETH_P_IPV6))
		flags |= DECAP_L3_IPV6;
	else if (t->inner.h_proto != bpf_htons(ETH_P_IP))
		return SLOW;
	copy_mac(eth.h_dest, t->inner.h_dest);
	copy_mac(eth.h_source, t->inner.h_source);
	eth.h_proto = t->inner.h_proto;
	if (bpf_skb_adjust_room(skb, -(int)(sizeof(*t) - sizeof(eth)), BPF_ADJ_ROOM_MAC, flags)) {
		// A kernel without that flag makes the packet one of IPv6 first, with room
		// for its longer header, which goes along with the outer ones.
		if (!(flags & DECAP_L3_IPV6) || skb->len < sizeof(*t) + sizeof(struct ipv6hdr) ||
		    bpf_skb_change_proto(skb, bpf_htons(ETH_P_IPV6), 0))
			return SLOW;
		if (bpf_skb_adjust_room(skb, -(int)(sizeof(*t) - sizeof(eth) + sizeof(struct ipv6hdr) - sizeof(struct iphdr)),
					BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO))
			return TC_ACT_SHOT;
	}
	if (bpf_skb_store_bytes(skb, 0, &eth, sizeof(eth), 0))
		return TC_ACT_SHOT;
	count(RECEIVED);
	skb->cb[0] = TO_PORT;
	skb->cb[1] = to->link;
	return bpf_redirect_peer(to->outer, 0);
}

// At the ingress of inner: what from_wire has made a frame of the network again.
SEC("tc")
int weft_to_port(struct __sk_buff *skb)
{
	if (skb->cb[0] == TO_PORT)
		return bpf_redirect_peer(skb->cb[1], 0);
	if (skb->cb[0] == TO_BRIDGE)
		return bpf_redirect(skb->cb[1], BPF_F_INGRESS);
	return TC_ACT_SHOT;
}

// At the ingress of the VXLAN device: what it has taken the outer headers from.
SEC("tc")
int weft_from_tunnel(struct __sk_buff *skb)
{
	struct ethhdr *eth = (void *)(long)skb->data;
	struct mac_key dest = { .vni = vni };
	struct place *to;

	if ((void *)(eth + 1) > (void *)(long)skb->data_end || skb->vlan_present || eth->h_dest[0] & 1)
		return SLOW;
	if (eth->h_proto != bpf_htons(ETH_P_IP) && eth->h_proto != bpf_htons(ETH_P_IPV6))
		return SLOW;
	copy_mac(dest.mac, eth->h_dest);
	to = bpf_map_lookup_elem(&weft_places, &dest);
	if (!to || !to->link || !open_host() || bpf_skb_change_type(skb, PACKET_HOST))
		return SLOW;
	count(RECEIVED);
	return bpf_redirect_peer(to->link, 0);
}

char _license[] SEC("license") = "Dual BSD/GPL";
