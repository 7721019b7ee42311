package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/weft-net/weft/test/borders/craft"
)

// Where a kernel takes the source ports of tunnels from (net.ipv4.ip_local_port_range).
const firstPort, lastPort = 32768, 60999

// steal sends from the tunnels' port to all ports that the target's tunnels may send
// from, so that a firewall that translates sources takes what these send for answers.
// It says when that is done, and each time that it hears what a network's members
// send, until its input ends.
func steal(j *craft.Job) error {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{Port: int(j.UDP)})
	if err != nil {
		return err
	}
	defer conn.Close()
	for port := firstPort; port <= lastPort; port++ {
		// An answer that nobody listens there is an error of the next send.
		_, _ = conn.WriteToUDPAddrPort([]byte{0}, netip.AddrPortFrom(j.Targets[0].Addr, uint16(port)))
		if port%burst == 0 {
			time.Sleep(breath)
		}
	}
	fmt.Println("ready")
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		conn.Close()
	}()
	buffer := make([]byte, 1<<16)
	for {
		n, err := conn.Read(buffer)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if _, marked := craft.Find(buffer[:n]); err == nil && marked {
			fmt.Println("heard")
		}
	}
}
