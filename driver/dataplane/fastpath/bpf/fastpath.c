// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

// The fast path of weft's networks: five programs that carry TCP and UDP between
// containers around the bridge, the VXLAN device and the host's netfilter. What they
// do not know for sure they leave to those, so the wire has the same packets.
//
//   container eth0 ══ port ─ from_port ─┐                 (namespace of the network)
//                                       │ to a container of this host: redirect_peer(port)
//                                       └ else outer headers, redirect_peer(inner)
//   inner ══ outer ─ to_wire ─ redirect_neigh(uplink)     (namespace of the host)
//
//   uplink ─ from_wire ─ outer headers away, redirect_peer(outer)   (host)
//   outer ══ inner ─ to_port ─ redirect_peer(port)                  (network)
//
//   vx0 ─ from_tunnel ─ redirect_peer(port)                         (network)
//
// "══" is a veth pair. inner and outer are one pair for each network, which nothing
// ever crosses by its queues.

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
	struct addr vtep;
	__u32 uplink;
	__be16 port;
	__u16 pad;
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

enum { SENT, RECEIVED, LOCAL, COUNTS };

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

// What the slow way's guard and MTU would let pass, and no other packet: TCP and UDP
// in one piece from the port's own MAC and address. ecn is that of its header.
static __always_inline int may_send(struct __sk_buff *skb, struct ethhdr *eth, void *end, const struct port *p, __u8 *ecn)
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
		*ecn = ip->tos & ECN_MASK;
		l4 = ip + 1;
		size = sizeof(*ip);
	} else if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = (void *)(eth + 1);

		if ((void *)(ip + 1) > end || *(__u8 *)ip >> 4 != 6)
			return 0;
		if (!(p->ip6[0] | p->ip6[1] | p->ip6[2] | p->ip6[3]) || !same_words(ip->saddr.in6_u.u6_addr32, p->ip6))
			return 0;
		protocol = ip->nexthdr;
		*ecn = ip->flow_lbl[0] >> 4 & ECN_MASK;
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

// At the ingress of each port: what a container sends.
SEC("tc")
int weft_from_port(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct port_key from = { .vni = vni, .link = skb->ifindex };
	struct mac_key dest = { .vni = vni };
	struct ethhdr *eth = data, copy;
	struct place *to;
	struct port *p;
	struct host *h;
	__be16 proto;
	__u8 ecn;

	if ((void *)(eth + 1) > end || skb->vlan_present)
		return SLOW;
	p = bpf_map_lookup_elem(&weft_ports, &from);
	if (!p || !may_send(skb, eth, end, p, &ecn))
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
	if (encapsulate(skb, h, to, &copy, ecn))
		return SLOW;
	proto = bpf_htons(ETH_P_IP);
	bpf_skb_store_bytes(skb, offsetof(struct ethhdr, h_proto), &proto, sizeof(proto), 0);
	count(SENT);
	skb->cb[0] = TO_WIRE;
	return bpf_redirect_peer(inner, 0);
}

// At the ingress of outer: what from_port has put outer headers before. It is on its
// way, whatever has ended meanwhile.
SEC("tc")
int weft_to_wire(struct __sk_buff *skb)
{
	struct host *h = this_host();

	if (skb->cb[0] != TO_WIRE || !h)
		return TC_ACT_SHOT;
	return bpf_redirect_neigh(h->uplink, NULL, 0, 0);
}

struct tunnel4 {
	struct ethhdr eth;
	struct iphdr ip;
	struct udphdr udp;
	struct vxlanhdr vxlan;
	struct ethhdr inner;
} __attribute__((packed));

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

	// Several packets in one keep the mark that they were in a tunnel, which no
	// program can take away, and who cuts them later would go by it. The VXLAN
	// device takes it away.
	if (skb->gso_size)
		return SLOW;
	if (skb->pkt_type != PACKET_HOST || skb->vlan_present || skb->protocol != bpf_htons(ETH_P_IP))
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

// At the ingress of inner: what from_wire has taken the outer headers from.
SEC("tc")
int weft_to_port(struct __sk_buff *skb)
{
	if (skb->cb[0] != TO_PORT)
		return TC_ACT_SHOT;
	return bpf_redirect_peer(skb->cb[1], 0);
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
