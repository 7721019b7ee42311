package dataplane

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"os"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// forgetFlows makes the kernel decide anew about UDP sockets that have asked
// before: a flow stays for half a minute with whom it began. Some resolver
// libraries keep their sockets, and a new one may get the port of an old one. A
// kernel without this table, or one that refuses, costs such a client one more
// try, no more. Those of ours are left alone while somebody may wait for an
// answer, which could not go back; so are others that have had none, which
// makes r.waiting true.
func (r *Resolver) forgetFlows(ours bool) {
	r.waiting = false
	// Looking for them takes the kernel 10 ms, and most sandboxes have none yet.
	if none, err := r.noFlows(); none || err != nil {
		return
	}
	h, err := netlink.NewHandleAt(r.ns, unix.NETLINK_NETFILTER)
	if err != nil {
		return
	}
	defer h.Close()
	done, err := r.answered()
	if err != nil {
		return
	}
	port := r.udp.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	_, _ = h.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, flows(func(f *netlink.ConntrackFlow) bool {
		if f.Forward.Protocol != unix.IPPROTO_UDP || f.Forward.DstPort != dnsPort ||
			!f.Forward.DstIP.Equal(dockerResolver[:]) || (f.Reverse.SrcPort == port) != ours {
			return false
		}
		if ours || done[f.Forward.SrcPort] {
			return true
		}
		r.waiting = true
		return false
	}))
}

// noFlows says whether the kernel follows no flow at all in the sandbox.
func (r *Resolver) noFlows() (bool, error) {
	var count []byte
	err := visit(r.ns, func() (err error) {
		count, err = os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_count")
		return err
	})
	return string(bytes.TrimSpace(count)) == "0", err
}

// flows chooses flows.
type flows func(*netlink.ConntrackFlow) bool

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (f flows) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool { return f(flow) }

// seenReply is the bit in the status of a flow that says that an answer has
// come (IPS_SEEN_REPLY of linux/netfilter/nf_conntrack_common.h).
const seenReply = 1 << 1

// answered gives the source ports of the sandbox's UDP flows that have had an
// answer.
func (r *Resolver) answered() (map[uint16]bool, error) {
	sock, err := nl.GetNetlinkSocketAt(r.ns, netns.None(), unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("list flows of sandbox %s: %w", r.path, err)
	}
	defer sock.Close()
	req := nl.NewNetlinkRequest(netlink.ConntrackTable<<8|nl.IPCTNL_MSG_CT_GET, unix.NLM_F_DUMP)
	req.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_NETFILTER: {Socket: sock}}
	req.AddData(&nl.Nfgenmsg{NfgenFamily: unix.AF_INET, Version: nl.NFNETLINK_V0})
	messages, err := dump(func() ([][]byte, error) { return req.Execute(unix.NETLINK_NETFILTER, 0) })
	if err != nil {
		return nil, fmt.Errorf("list flows of sandbox %s: %w", r.path, err)
	}
	ports := make(map[uint16]bool, len(messages))
	for _, m := range messages {
		if len(m) < nl.SizeofNfgenmsg {
			continue
		}
		flow := attributes(m[nl.SizeofNfgenmsg:])
		proto := attributes(attributes(flow[nl.CTA_TUPLE_ORIG])[nl.CTA_TUPLE_PROTO])
		status, number, port := flow[nl.CTA_STATUS], proto[nl.CTA_PROTO_NUM], proto[nl.CTA_PROTO_SRC_PORT]
		if len(status) == 4 && binary.BigEndian.Uint32(status)&seenReply != 0 &&
			len(number) == 1 && number[0] == unix.IPPROTO_UDP && len(port) == 2 {
			ports[binary.BigEndian.Uint16(port)] = true
		}
	}
	return ports, nil
}

// attributes gives the values by their types; what is not understood is left out.
func attributes(b []byte) map[uint16][]byte {
	list, err := nl.ParseRouteAttr(b)
	if err != nil {
		return nil
	}
	out := make(map[uint16][]byte, len(list))
	for _, a := range list {
		out[a.Attr.Type&nl.NLA_TYPE_MASK] = a.Value
	}
	return out
}
