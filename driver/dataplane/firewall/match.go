package firewall

import (
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
)

// match says whether the packet matches one of iptables' extensions.
func (w *walk) match(e *expr.Match) answer {
	ports := func(src, dst [2]uint16, notSrc, notDst bool) answer {
		in := func(p uint16, r [2]uint16, not bool) answer {
			switch {
			case r == [2]uint16{0, 0xffff} && !not:
				return yes
			case p == 0:
				return maybe
			}
			return truth((p >= r[0] && p <= r[1]) != not)
		}
		return min(in(w.packet.SrcPort, src, notSrc), in(w.packet.DstPort, dst, notDst))
	}
	state := func(b xt.ConntrackMtinfoBase, mask uint16) answer {
		if w.untracked || b.MatchFlags&^uint16(xt.ConntrackState|xt.ConntrackStateAlias) != 0 {
			return maybe
		}
		bit := uint16(expr.CtStateBitNEW)
		if w.packet.Untracked {
			bit = uint16(expr.CtStateBitUNTRACKED)
		}
		not := b.InvertFlags&uint16(xt.ConntrackState) != 0
		return truth((mask&bit != 0) != not)
	}
	switch info := e.Info.(type) {
	case *xt.Udp:
		if w.packet.TCP {
			return no
		}
		return ports(info.SrcPorts, info.DstPorts, info.InvFlags&xt.UdpInvSrcPorts != 0, info.InvFlags&xt.UdpInvDestPorts != 0)
	case *xt.Tcp:
		if !w.packet.TCP {
			return no
		}
		m := ports(info.SrcPorts, info.DstPorts, info.InvFlags&xt.TcpInvSrcPorts != 0, info.InvFlags&xt.TcpInvDestPorts != 0)
		if info.FlagsMask != 0 || info.Option != 0 {
			m = min(m, maybe)
		}
		return m
	case *xt.ConntrackMtinfo1:
		return state(info.ConntrackMtinfoBase, uint16(info.StateMask))
	case *xt.ConntrackMtinfo2:
		return state(info.ConntrackMtinfoBase, info.StateMask)
	case *xt.ConntrackMtinfo3:
		return state(info.ConntrackMtinfoBase, info.StateMask)
	}
	if e.Name == "comment" {
		return yes
	}
	return maybe
}

// target is the verdict of one of iptables' targets, nil if it has none.
func target(e *expr.Target) *expr.Verdict {
	switch e.Name {
	case "REJECT":
		return &expr.Verdict{Kind: expr.VerdictDrop}
	case "NFQUEUE", "SYNPROXY":
		return &expr.Verdict{Kind: expr.VerdictAccept}
	}
	return nil
}
