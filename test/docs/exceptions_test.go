package docs

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// exception is a command of the documents that is not run as it stands.
type exception struct {
	file string // of one document only
	text string // the command's beginning, up to a blank or its end
	why  string
	// check is what is done in its place, on the host if there is one.
	check func(t *testing.T, s *scene, c command)
}

// exceptions is all that the documents say and this test does not do.
var exceptions = []exception{
	{text: "git clone https://github.com/weft-net/weft", why: "no way to GitHub; the checkout that is tested is there", check: linkCheckout},
	{text: "sudo make deps", why: "it installs packages on this machine; CI runs it before the tests", check: known},
	{text: "sudo make test", why: "it is what runs this test", check: known},
	{text: "sudo make lab", why: "its scene has a test in cmd/weft-lab", check: known},
	{text: "sudo make heavy", why: "a part of make test, as this is", check: known},
	{text: "sudo make hosts", why: "a part of make test, as this is", check: known},
	{text: "make unit", why: "a part of make test, as this is", check: known},
	{text: "make lint", why: "a part of make test, as this is", check: known},
	{text: "sudo make test-docker", why: "it takes a quarter of an hour and downloads a Debian; it is the tests that CI runs", check: known},
	{text: "sudo make bench", why: "it takes minutes", check: known},
	{text: ".cache/bin/bench -help", why: "make bench builds it"},

	{text: "apt-get install -y docker.io", why: "the hosts have a Docker, and no way to Debian's servers", check: startDocker},
	{text: "wget -O /usr/share/keyrings/hashicorp.asc", why: "no way to HashiCorp's servers"},
	{text: "echo \"deb [signed-by=/usr/share/keyrings/hashicorp.asc]", why: "no way to HashiCorp's servers"},
	{text: "apt-get update && apt-get install -y consul", why: "no way to HashiCorp's servers; a Consul with what the package brings takes its place", check: installConsul},
	{text: "ufw ", why: "there is no ufw; the same ports are opened with nft, which is run", check: ports},
	{text: "firewall-cmd ", why: "there is no firewalld; the same ports are opened with nft, which is run", check: ports},
	{text: "journalctl -u weft", why: "the hosts of the lab have no journal"},

	{file: "README.md", text: "dpkg -i weft_*.deb", why: "the guide does it, on the same hosts"},
	{file: "README.md", text: "echo WEFT_STORE=", why: "the guide does it, with a Consul of its own"},
	{file: "README.md", text: "systemctl restart weft", why: "the guide does it"},
	{file: "README.md", text: "make ", why: "deploy/README.md does it, a way on each host", check: known},
	{file: "README.md", text: "docker plugin ", why: "deploy/README.md does it", check: known},
	{file: "README.md", text: "WEFT_STORE=consul://198.51.100.2:8500 docker compose -f deploy/container/compose.yaml up -d", why: "deploy/README.md does it"},
}

// exceptionFor finds the exception that covers a command.
func exceptionFor(c command) *exception {
	for i, e := range exceptions {
		if e.file != "" && e.file != c.file {
			continue
		}
		if rest, ok := strings.CutPrefix(c.text, e.text); ok && (rest == "" || strings.ContainsAny(e.text[len(e.text)-1:], " =") || rest[0] == ' ') {
			return &exceptions[i]
		}
	}
	return nil
}

// known wants the program to know what the command asks it for.
func known(t *testing.T, _ *scene, c command) {
	t.Helper()
	if err := knows(t.Context(), strings.TrimPrefix(c.text, "sudo ")); err != nil {
		t.Errorf("%s: %v", c, err)
	}
}

// checkout is its path, which is the same on the hosts.
func checkout(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// linkCheckout puts the checkout where a clone would be, and goes there if the
// command does.
func linkCheckout(t *testing.T, s *scene, c command) {
	t.Helper()
	if c.where != here {
		s.must(t, c.where, fmt.Sprintf("ln -s %s weft", checkout(t)))
		if _, more, ok := strings.Cut(c.text, " && "); ok {
			s.must(t, c.where, more)
		}
	}
}

// port is what looks like the number of one.
var port = regexp.MustCompile(`\b(\d{4})\b`)

// ports wants a firewall's command to name no port but those in use.
func ports(t *testing.T, _ *scene, c command) {
	t.Helper()
	for _, p := range port.FindAllString(c.text, -1) {
		if !slices.Contains([]string{"4789", "7947", "8300", "8301", "8501"}, p) {
			t.Errorf("%s: neither weft nor Consul uses port %s", c, p)
		}
	}
}

func startDocker(t *testing.T, s *scene, c command) {
	t.Helper()
	s.must(t, c.where, "systemctl enable --now docker")
}

// installConsul does what HashiCorp's package does: the program, its user, its
// folders and its unit.
func installConsul(t *testing.T, s *scene, c command) {
	t.Helper()
	consul, err := filepath.Abs(s.consul)
	if err != nil {
		t.Fatal(err)
	}
	s.must(t, c.where, `touch /usr/bin/consul && mount --bind `+consul+` /usr/bin/consul
mount -t tmpfs tmpfs /opt && mkdir -p /opt/consul /etc/consul.d && id consul 2>/dev/null || useradd --system --home /etc/consul.d --shell /bin/false consul
chown consul:consul /opt/consul /etc/consul.d
cat >/usr/lib/systemd/system/consul.service <<'EOF'
[Unit]
Description=Consul
Requires=network-online.target
After=network-online.target
ConditionFileNotEmpty=/etc/consul.d/consul.hcl
[Service]
Type=notify
User=consul
Group=consul
ExecStart=/usr/bin/consul agent -config-dir=/etc/consul.d/
KillMode=process
KillSignal=SIGTERM
Restart=on-failure
LimitNOFILE=65536
[Install]
WantedBy=multi-user.target
EOF
systemctl daemon-reload`)
}
