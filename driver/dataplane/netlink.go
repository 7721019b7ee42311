package dataplane

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// handle is a pair of netlink sockets in one network namespace. An open one
// keeps its namespace alive, so those of networks are closed after each pass.
type handle struct {
	*netlink.Handle
	raw *nl.NetlinkSocket
	seq uint32
}

func openHandle(ns netns.NsHandle) (*handle, error) {
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	raw, err := nl.GetNetlinkSocketAt(ns, netns.None(), unix.NETLINK_ROUTE)
	if err != nil {
		h.Close()
		return nil, err
	}
	// Room for the errors of a whole batch, each with the kernel's overhead.
	if err := raw.SetReceiveBufferSize(4<<20, true); err != nil {
		h.Close()
		raw.Close()
		return nil, fmt.Errorf("enlarge the netlink receive buffer: %w", err)
	}
	return &handle{Handle: h, raw: raw}, nil
}

func (h *handle) close() {
	h.Close()
	h.raw.Close()
}

// dumpAttempts bounds how often a dump that changed underneath is repeated.
const dumpAttempts = 10

// dump repeats f until the kernel says that the answer is consistent. All dumps
// of the package go through it.
func dump[T any](f func() (T, error)) (T, error) {
	var out T
	var err error
	for range dumpAttempts {
		out, err = f()
		if !errors.Is(err, netlink.ErrDumpInterrupted) && !errors.Is(err, unix.EINTR) {
			return out, err
		}
	}
	return out, err
}

// links gives all devices of the namespace by name.
func (h *handle) links() (map[string]netlink.Link, error) {
	list, err := dump(h.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	out := make(map[string]netlink.Link, len(list))
	for _, l := range list {
		out[l.Attrs().Name] = l
	}
	return out, nil
}

// link gives one device, or nil if there is none of that name.
func (h *handle) link(name string) (netlink.Link, error) {
	l, err := h.LinkByName(name)
	if _, missing := errors.AsType[netlink.LinkNotFoundError](err); missing {
		return nil, nil
	}
	return l, err
}

// remove deletes a device; one that is gone already is no error.
func (h *handle) remove(l netlink.Link) error {
	if err := h.LinkDel(l); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("delete link %s: %w", l.Attrs().Name, err)
	}
	return nil
}

// doomed is the link group that removeAll uses; any but 0, the default, will do.
const doomed = 0x77656674 // "weft"

// removeAll deletes several devices at the cost of one: the kernel waits once
// for all of a group (10 to 60 ms).
func (h *handle) removeAll(list []netlink.Link) error {
	if len(list) == 0 {
		return nil
	}
	for _, l := range list {
		if err := h.LinkSetGroup(l, doomed); err != nil && !errors.Is(err, unix.ENODEV) {
			return fmt.Errorf("mark link %s for deletion: %w", l.Attrs().Name, err)
		}
	}
	req := nl.NewNetlinkRequest(unix.RTM_DELLINK, unix.NLM_F_ACK)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_GROUP, nl.Uint32Attr(doomed)))
	req.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: h.raw}}
	if _, err := req.Execute(unix.NETLINK_ROUTE, 0); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("delete %d links: %w", len(list), err)
	}
	return nil
}

// portFlags are the bridge's settings of one port.
type portFlags struct {
	learning, flood, suppress bool
	quiet                     bool // neither broadcast nor multicast is sent to it
	backup                    int  // index of the port that gets what is for it while it has no carrier; 0: none
}

// bridgePorts gives the flags of every bridge port of the namespace by link index.
func (h *handle) bridgePorts() (map[int]portFlags, error) {
	return dump(func() (map[int]portFlags, error) {
		req := nl.NewNetlinkRequest(unix.RTM_GETLINK, unix.NLM_F_DUMP)
		req.AddData(nl.NewIfInfomsg(unix.AF_BRIDGE))
		req.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: h.raw}}
		answers, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
		if err != nil {
			return nil, err
		}
		out := map[int]portFlags{}
		for _, m := range answers {
			info := nl.DeserializeIfInfomsg(m)
			attrs, err := nl.ParseRouteAttr(m[info.Len():])
			if err != nil {
				return nil, err
			}
			for _, a := range attrs {
				if a.Attr.Type != unix.IFLA_PROTINFO|unix.NLA_F_NESTED && a.Attr.Type != unix.IFLA_PROTINFO {
					continue
				}
				inner, err := nl.ParseRouteAttr(a.Value)
				if err != nil {
					return nil, err
				}
				var f portFlags
				broadcast, multicast := true, true // as on a kernel that does not tell
				for _, i := range inner {
					if i.Attr.Type == nl.IFLA_BRPORT_BACKUP_PORT && len(i.Value) >= 4 {
						f.backup = int(binary.NativeEndian.Uint32(i.Value))
						continue
					}
					on := len(i.Value) > 0 && i.Value[0] != 0
					switch i.Attr.Type {
					case nl.IFLA_BRPORT_LEARNING:
						f.learning = on
					case nl.IFLA_BRPORT_UNICAST_FLOOD:
						f.flood = on
					case nl.IFLA_BRPORT_NEIGH_SUPPRESS:
						f.suppress = on
					case nl.IFLA_BRPORT_BCAST_FLOOD:
						broadcast = on
					case nl.IFLA_BRPORT_MCAST_FLOOD:
						multicast = on
					}
				}
				f.quiet = !broadcast && !multicast
				out[int(info.Index)] = f
			}
		}
		return out, nil
	})
}

// setBridgePort sets the flags of one bridge port in one message.
func (h *handle) setBridgePort(index int, f portFlags) error {
	req := nl.NewNetlinkRequest(unix.RTM_SETLINK, unix.NLM_F_ACK)
	msg := nl.NewIfInfomsg(unix.AF_BRIDGE)
	msg.Index = int32(index)
	req.AddData(msg)
	info := nl.NewRtAttr(unix.IFLA_PROTINFO|unix.NLA_F_NESTED, nil)
	info.AddRtAttr(nl.IFLA_BRPORT_LEARNING, flag(f.learning))
	info.AddRtAttr(nl.IFLA_BRPORT_UNICAST_FLOOD, flag(f.flood))
	info.AddRtAttr(nl.IFLA_BRPORT_NEIGH_SUPPRESS, flag(f.suppress))
	info.AddRtAttr(nl.IFLA_BRPORT_BCAST_FLOOD, flag(!f.quiet))
	info.AddRtAttr(nl.IFLA_BRPORT_MCAST_FLOOD, flag(!f.quiet))
	info.AddRtAttr(nl.IFLA_BRPORT_BACKUP_PORT, nl.Uint32Attr(uint32(f.backup))) //nolint:gosec // an index
	req.AddData(info)
	req.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: h.raw}}
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

func flag(on bool) []byte {
	if on {
		return []byte{1}
	}
	return []byte{0}
}

func isUp(l netlink.Link) bool { return l.Attrs().Flags&net.FlagUp != 0 }

// socketTimeout ends a wait for an acknowledgement that got lost; the kernel
// answers within the system call that asked.
const socketTimeout = 10 * time.Second
