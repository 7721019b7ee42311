package identity

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/kvstore"
	"github.com/weft-net/weft/kvstore/bolt"
	"github.com/weft-net/weft/test/lab"
	"github.com/weft-net/weft/test/lab/labtest"
)

func TestASecondMachineOfTheName(t *testing.T) {
	h1, h4 := cluster.Host("h1"), cluster.Host("h4")
	end := undisturbed(t, h1)
	refused(t, h4, t.TempDir(), []string{"--host=h1"}, `"h1"`, h1.Addr().String(), "runs", "--host", "--adopt")
	end()
	distinct(t, serves(t, h1))
}

func TestACopyOfAHost(t *testing.T) {
	h1, h4 := cluster.Host("h1"), cluster.Host("h4")
	dir := t.TempDir()
	ctl(t, copyState(h1, dir))
	end := undisturbed(t, h1)
	refused(t, h4, dir, nil, `"h1"`, "another machine", "--adopt", "remove the state")
	end()
}

// The copy's machine-id is h1's: it waits for the end of h1's lease before it hands
// out anything, and that does not come.
func TestACopyOfAHostWithItsMachineID(t *testing.T) {
	t.Parallel() // after those that are not
	end := undisturbed(t, cluster.Host("h1"))
	said(t, <-copied, `"h1"`, "runs already", cluster.Host("h1").Addr().String(), "machine-id")
	end()
	if n := labtest.Logged(t, cluster.Host("h1"), "lease"); n > 0 {
		t.Errorf("h1 tells %d times of its lease", n)
	}
	distinct(t, serves(t, cluster.Host("h1")), serves(t, cluster.Host("h2")))
}

func TestARenamedMachine(t *testing.T) {
	h3 := cluster.Host("h3")
	for _, name := range []string{"node7", "localhost"} {
		end := undisturbed(t, h3)
		restart(t, h3, func() {
			refused(t, h3, filepath.Dir(stateOf(h3)), []string{"--host=node7"}, `"node7"`, `"h3"`, "leave --host out", "weft leave")
			_, err := h3.Run(t.Context(), "hostname", name)
			ctl(t, err)
		}, "--host=")
		distinct(t, serves(t, h3))
		end()
	}
	_, err := h3.Run(t.Context(), "hostname", "h3")
	ctl(t, err)
	if hosts := labtest.Weft[[]struct{ Name string }](t, h3, "host", "ls"); len(hosts) == 0 || strings.Contains(hosts[0].Name, "node") {
		t.Errorf("the cluster has %v", hosts)
	}
}

func TestAMachineWithoutAName(t *testing.T) {
	h4 := cluster.Host("h4")
	for _, name := range []string{"localhost", "a_b c"} {
		_, err := h4.Run(t.Context(), "sh", "-c", "printf %s \"$0\" >/proc/sys/kernel/hostname", name)
		ctl(t, err)
		refused(t, h4, t.TempDir(), []string{"--host="}, "host name", "--host")
	}
	_, err := h4.Run(t.Context(), "hostname", "h4")
	ctl(t, err)
	refused(t, h4, t.TempDir(), []string{"--host=a/b"}, `"a/b"`, "--host")
}

func TestALostState(t *testing.T) {
	h3 := cluster.Host("h3")
	end := undisturbed(t, h3)
	ctl(t, h3.Kill(t.Context(), lab.Weft))
	ctl(t, os.Remove(stateOf(h3)))
	ctl(t, h3.Start(t.Context(), lab.Weft))
	distinct(t, serves(t, h3), serves(t, h3), serves(t, cluster.Host("h2")))
	end()
}

// The disk of a machine, or only weft's part of it, is set back to before a container
// was started that runs on.
func TestADiskThatWasSetBack(t *testing.T) {
	h3 := cluster.Host("h3")
	var old []byte
	restart(t, h3, func() {
		var err error
		old, err = os.ReadFile(stateOf(h3))
		ctl(t, err)
	})
	end := undisturbed(t, h3)
	since := serves(t, h3)
	labtest.Eventually(t, 5*time.Second, "the cluster knows the container", func() error {
		_, err := cluster.Host("h2").Docker(t.Context(), "exec", "h2", "ping", "-c1", "-W1", since.String())
		return err
	})
	before := labtest.Logged(t, h3, "damaged or old")
	restart(t, h3, func() { ctl(t, os.WriteFile(stateOf(h3), old, 0o600)) })
	var others []netip.Addr
	for range 4 {
		others = append(others, serves(t, h3))
	}
	distinct(t, append(others, since)...)
	if n := labtest.Logged(t, h3, "damaged or old"); n != before+1 {
		t.Errorf("the log tells %d times of a state that was set aside", n-before)
	}
	if out, err := cluster.Host("h2").Docker(t.Context(), "exec", "h2", "ping", "-c1", "-W2", since.String()); err != nil {
		t.Errorf("the container of after the snapshot is not reached: %s: %v", out, err)
	}
	end()
}

// h3's state is put on another machine on purpose, and h3 does not come back as it was.
func TestADiskInAnotherMachine(t *testing.T) {
	h3 := cluster.Host("h3")
	other := filepath.Join(h3.Dir(), "other-machine-id")
	ctl(t, os.WriteFile(other, []byte(strings.Repeat("5e", 16)+"\n"), 0o600))
	end, dir := undisturbed(t, h3), filepath.Dir(stateOf(h3))
	ctl(t, h3.Stop(t.Context(), lab.Weft))
	sentence := refused(t, h3, dir, []string{"--machine-id=" + other}, `"h3"`, "another machine", "--adopt")
	refused(t, h3, dir, []string{"--machine-id=" + other, "--adopt=" + strings.Repeat("0", 32)}, "another machine")
	h3.WeftArgs("--machine-id="+other, "--adopt="+machineIn(t, sentence))
	ctl(t, h3.Start(t.Context(), lab.Weft))
	distinct(t, serves(t, h3))
	ctl(t, h3.Stop(t.Context(), lab.Weft))
	sentence = refused(t, h3, dir, nil, "another machine", "--adopt")
	h3.WeftArgs("--adopt=" + machineIn(t, sentence))
	ctl(t, h3.Start(t.Context(), lab.Weft))
	distinct(t, serves(t, h3))
	end()
}

// machineIn is the machine that a sentence says can be adopted.
func machineIn(t *testing.T, sentence string) string {
	t.Helper()
	id := regexp.MustCompile(`--adopt ([0-9a-f]{32})`).FindStringSubmatch(sentence)
	if id == nil {
		t.Fatalf("the sentence names no machine: %s", sentence)
	}
	return id[1]
}

// What a weft has left that knew of no machines is taken over in place.
func TestAnUpgrade(t *testing.T) {
	h3 := cluster.Host("h3")
	end := undisturbed(t, h3)
	restart(t, h3, func() {
		s, err := bolt.Open(stateOf(h3))
		ctl(t, err)
		_, err = s.Txn(t.Context(), kvstore.Op{Kind: kvstore.Delete, Key: "bond"})
		ctl(t, err)
		ctl(t, s.Close())
		_, err = cluster.Consul(1).Request(t.Context(), http.MethodDelete, "/v1/kv/weft/host/h3/owner", nil)
		ctl(t, err)
		text, err := cluster.Consul(1).Request(t.Context(), http.MethodGet, "/v1/kv/weft/host/h3/doc?raw", nil)
		ctl(t, err)
		var doc map[string]json.RawMessage
		ctl(t, json.Unmarshal(text, &doc))
		delete(doc, "state")
		text, err = json.Marshal(doc)
		ctl(t, err)
		_, err = cluster.Consul(1).Request(t.Context(), http.MethodPut, "/v1/kv/weft/host/h3/doc", text)
		ctl(t, err)
	})
	distinct(t, serves(t, h3))
	labtest.Eventually(t, 5*time.Second, "the store knows h3's machine", func() error {
		_, err := cluster.Consul(1).Request(t.Context(), http.MethodGet, "/v1/kv/weft/host/h3/owner", nil)
		return err
	})
	end()
}

func TestTheStoreOfAnotherCluster(t *testing.T) {
	h3, h4 := cluster.Host("h3"), cluster.Host("h4")
	theirs := "--store=" + storeURL() + "/theirs"
	h4.WeftArgs(theirs, "--host=x1", "--state-dir="+t.TempDir())
	ctl(t, h4.Start(t.Context(), lab.Weft))
	labtest.Eventually(t, 10*time.Second, "the other cluster has its host", func() error {
		_, err := cluster.Consul(1).Request(t.Context(), http.MethodGet, "/v1/kv/theirs/host/x1/doc", nil)
		return err
	})
	ctl(t, h4.Stop(t.Context(), lab.Weft))
	end := undisturbed(t, h3)
	restart(t, h3, func() {
		refused(t, h3, filepath.Dir(stateOf(h3)), []string{theirs}, "another cluster", "--store", "weft leave")
	})
	distinct(t, serves(t, h3))
	end()
}
