package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// serves, set in the environment, makes the test binary `weft` in namespaces of its own.
const serves = "WEFT_TEST_SERVES"

// serveAlone is main on a host that has nothing but an underlay.
func serveAlone() {
	err := unix.Mount("none", "/run", "tmpfs", 0, "")
	for _, command := range []string{"link set lo up", "link add eth0 type bridge", "addr add 192.0.2.1/24 dev eth0", "link set eth0 up"} {
		if err == nil {
			err = exec.Command("ip", strings.Fields(command)...).Run()
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	main()
}

// daemonAlone runs weft on a host of its own. It gives what calls it as Docker does, and what
// tells the CPU time that it has used.
func daemonAlone(b *testing.B) (ask func(method, body string) map[string]any, used func() time.Duration) {
	b.Helper()
	dir := b.TempDir()
	socket := filepath.Join(dir, "weft.sock")
	cmd := exec.Command(os.Args[0], "serve", "--host=h1", "--docker=", "--advertise=eth0", "--log-level=error",
		"--store=bolt://"+filepath.Join(dir, "cluster.db"), "--state-dir="+dir, "--socket="+socket, "--control="+filepath.Join(dir, "control.sock"))
	cmd.Env = append(os.Environ(), serves+"=1")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Signal(unix.SIGTERM)
		_ = cmd.Wait()
	})
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	b.Cleanup(client.CloseIdleConnections)
	ask = func(method, body string) map[string]any {
		b.Helper()
		resp, err := client.Post("http://weft/"+method, "application/json", strings.NewReader(body))
		if err != nil {
			b.Fatal(err)
		}
		defer resp.Body.Close()
		var answer map[string]any
		if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || resp.StatusCode != http.StatusOK {
			b.Fatalf("%s %s: %v, %v", method, body, answer, err)
		}
		return answer
	}
	used = func() time.Duration {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid))
		if err != nil {
			b.Fatal(err)
		}
		// Behind the name, in hundredths of a second on every machine (USER_HZ).
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		var user, system int64
		if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil {
			b.Fatal(err)
		}
		return time.Duration(user+system) * 10 * time.Millisecond
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if c, err := net.Dial("unix", socket); err == nil {
			_ = c.Close()
			return ask, used
		}
		if time.Now().After(end) {
			b.Fatal("weft does not serve")
		}
	}
}

// share is what weft took of containers' starts and stops, by call.
type share struct {
	ask  func(method, body string) map[string]any
	took map[string][]time.Duration
	last int
}

const benchNetwork = `"NetworkID":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"`

func (s *share) call(method, body string) (answer map[string]any, took time.Duration) {
	began := time.Now()
	answer = s.ask(method, body)
	took = time.Since(began)
	s.took[method] = append(s.took[method], took)
	return answer, took
}

// start is what docker run asks of weft; stop is what the container's end does.
func (s *share) start() (stop func()) {
	s.last++
	endpoint := fmt.Sprintf(`%s,"EndpointID":"%064x"`, benchNetwork, s.last<<40)
	answer, total := s.call("IpamDriver.RequestAddress", `{"PoolID":"10.9.0.0/16","Address":"","Options":null}`)
	address, _ := answer["Address"].(string)
	for _, c := range [][2]string{
		{"NetworkDriver.CreateEndpoint", `,"Interface":{"Address":"` + address + `"},"Options":{}`},
		{"NetworkDriver.Join", `,"SandboxKey":"/run/docker/netns/none","Options":{}`},
		{"NetworkDriver.ProgramExternalConnectivity", `,"Options":{}`},
	} {
		_, took := s.call(c[0], "{"+endpoint+c[1]+"}")
		total += took
	}
	s.took["start"] = append(s.took["start"], total)
	return func() {
		_, total := s.call("NetworkDriver.Leave", "{"+endpoint+"}")
		_, took := s.call("NetworkDriver.DeleteEndpoint", "{"+endpoint+"}")
		total += took
		_, took = s.call("IpamDriver.ReleaseAddress", `{"PoolID":"10.9.0.0/16","Address":"`+address+`"}`)
		s.took["stop"] = append(s.took["stop"], total+took)
	}
}

// BenchmarkStart is weft's share of docker run, and of the container's end, on a host that
// has so many containers in the network: the sum of its answers' times, and the CPU
// time of both with all that follows in the daemon. It takes a real daemon, a state in a
// file and this kernel, and no Docker.
func BenchmarkStart(b *testing.B) {
	ask, used := daemonAlone(b)
	ask("IpamDriver.RequestPool", `{"AddressSpace":"weft","Pool":"10.9.0.0/16"}`)
	gateway := ask("IpamDriver.RequestAddress", `{"PoolID":"10.9.0.0/16","Options":{"RequestAddressType":"com.docker.network.gateway"}}`)["Address"].(string)
	ask("NetworkDriver.CreateNetwork", `{`+benchNetwork+`,"IPv4Data":[{"AddressSpace":"weft","Gateway":"`+gateway+`","Pool":"10.9.0.0/16"}]}`)
	standing := 0
	s := &share{ask: ask}
	for _, containers := range []int{1, 100, 1000} {
		s.took = map[string][]time.Duration{}
		for ; standing < containers; standing++ {
			s.start()
		}
		b.Run(fmt.Sprintf("containers=%d", containers), func(b *testing.B) {
			s.took = map[string][]time.Duration{}
			// Docker works for longer between its calls than a pass takes that nobody waits for.
			pause := func() { time.Sleep(100 * time.Millisecond) }
			before := used()
			for b.Loop() {
				stop := s.start()
				pause()
				stop()
				pause()
			}
			b.ReportMetric((used()-before).Seconds()*1e3/float64(b.N), "cpu-ms")
			for call, took := range s.took {
				slices.Sort(took)
				name := call[strings.LastIndexByte(call, '.')+1:]
				b.ReportMetric(took[len(took)/2].Seconds()*1e3, name+"-p50-ms")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}
