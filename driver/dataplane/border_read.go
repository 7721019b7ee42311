package dataplane

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/nftables"
	mnetlink "github.com/mdlayher/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// dumpSize is the most that the kernel answers at once to a dump, if there is
// room for it (netlink_recvmsg in net/netlink/af_netlink.c). Each answer costs it
// a walk through the set from its beginning, so few are wanted.
const dumpSize = 32 << 10

// nfGenMessage is the size of struct nfgenmsg, with which each message of
// nftables begins (linux/netfilter/nfnetlink.h).
const nfGenMessage = 4

// askNftables sends one request to nftables and gives the answers.
func askNftables(ns netns.NsHandle, kind uint16, flags mnetlink.HeaderFlags, attrs []mnetlink.Attribute) ([]mnetlink.Message, error) {
	c, err := mnetlink.Dial(unix.NETLINK_NETFILTER, &mnetlink.Config{NetNS: int(ns), MessageBufferSize: dumpSize})
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	defer c.Close()
	data, err := mnetlink.MarshalAttributes(attrs)
	if err != nil {
		return nil, err
	}
	return c.Execute(mnetlink.Message{
		Header: mnetlink.Header{Type: mnetlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | kind), Flags: mnetlink.Request | flags},
		Data:   append([]byte{unix.NFPROTO_INET, 0, 0, 0}, data...),
	})
}

// keysOf gives the keys of a set's elements.
func keysOf(ns netns.NsHandle, set *nftables.Set) ([][]byte, error) {
	name := func(s string) []byte { return append([]byte(s), 0) }
	answers, err := dump(func() ([]mnetlink.Message, error) {
		return askNftables(ns, unix.NFT_MSG_GETSETELEM, mnetlink.Dump, []mnetlink.Attribute{
			{Type: unix.NFTA_SET_ELEM_LIST_TABLE, Data: name(set.Table.Name)},
			{Type: unix.NFTA_SET_ELEM_LIST_SET, Data: name(set.Name)},
		})
	})
	if err != nil {
		return nil, err
	}
	var out [][]byte
	for _, m := range answers {
		list, _ := nftAttribute(m, unix.NFTA_SET_ELEM_LIST_ELEMENTS)
		err := eachAttribute(list, func(_ uint16, element []byte) error {
			return eachAttribute(element, func(kind uint16, key []byte) error {
				if kind != unix.NFTA_SET_ELEM_KEY {
					return nil
				}
				return eachAttribute(key, func(kind uint16, value []byte) error {
					if kind == unix.NFTA_DATA_VALUE {
						out = append(out, value)
					}
					return nil
				})
			})
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// generation gives the number of the namespace's nftables rules, which grows
// with each change.
func generation(ns netns.NsHandle) (uint32, error) {
	answers, err := askNftables(ns, unix.NFT_MSG_GETGEN, 0, nil)
	if err != nil {
		return 0, fmt.Errorf("ask nftables for its generation: %w", err)
	}
	for _, m := range answers {
		if id, ok := nftAttribute(m, unix.NFTA_GEN_ID); ok && len(id) == 4 {
			return binary.BigEndian.Uint32(id), nil
		}
	}
	return 0, errors.New("nftables does not tell its generation")
}

// nftAttribute gives an attribute of a message of nftables.
func nftAttribute(m mnetlink.Message, kind uint16) (data []byte, there bool) {
	if len(m.Data) < nfGenMessage {
		return nil, false
	}
	err := eachAttribute(m.Data[nfGenMessage:], func(k uint16, value []byte) error {
		if k == kind {
			data, there = value, true
		}
		return nil
	})
	return data, there && err == nil
}

// eachAttribute calls f with each attribute of some bytes.
func eachAttribute(in []byte, f func(kind uint16, value []byte) error) error {
	attrs, err := mnetlink.NewAttributeDecoder(in)
	if err != nil {
		return fmt.Errorf("decode what nftables says: %w", err)
	}
	for attrs.Next() {
		if err := f(attrs.Type(), attrs.Bytes()); err != nil {
			return err
		}
	}
	return attrs.Err()
}
