package docs

import (
	"path/filepath"
	"runtime"
	"testing"

	"github.com/weft-net/weft/test/registry"
)

// before is what must be there before a document can be played.
var before = map[string]func(t *testing.T, s *scene){
	// Images that everybody knows, of which the hosts have none.
	"README.md": func(t *testing.T, s *scene) {
		s.must(t, "all", `docker tag busybox alpine && docker commit -c 'CMD ["httpd", "-f"]' $(docker create busybox) nginx`)
	},
	// A swarm, whose gossip the guide's firewall has to let through, and weft on
	// another port than Swarm.
	"docs/migration.md": func(t *testing.T, s *scene) {
		s.must(t, "all", `docker ps -aq | xargs -rn1 docker rm -f && nft delete table inet firewall
echo WEFT_VXLAN_PORT=4790 >>/etc/weft/weft.env && systemctl restart weft`)
		s.must(t, "h1", "docker swarm init --advertise-addr 198.51.100.11 >/dev/null && docker swarm join-token -q worker >token && scp token h2:")
		s.deliver(t)
		s.must(t, "h2", "docker swarm join --token $(cat ~/token) 198.51.100.11:2377")
	},
	// The ways to install weft, on hosts that have none any more, and a registry
	// with a plugin to upgrade to.
	"deploy/README.md": func(t *testing.T, s *scene) {
		s.must(t, "all", "cd && docker ps -aq | xargs -rn1 docker rm -f")
		s.must(t, "all", `for i in $(seq 100); do
	networks=$(docker network ls -q --filter driver=weft); [ -n "$networks" ] || break
	docker network rm $networks; sleep 0.1
done
[ -z "$networks" ] || { docker network ls; weft network ls; weft endpoint ls; weft status; grep -v level=debug /run/weft.log | tail -60; false; }`)
		s.must(t, "all", `docker swarm leave -f
dpkg -P weft && systemctl stop consul && nft delete table inet weft
ip netns ls | sed -n 's/^\(weft-[^ ]*\).*/\1/p' | xargs -rn1 ip netns delete
echo 127.0.0.1 registry-1.docker.io >>/etc/hosts # where nobody answers, at once
REGISTRY=`+registry.Address)
		s.must(t, here, "make rootfs")
		registry.Serve(t, s.lab.Host("h2"))
		// Docker takes no two plugins with the same files.
		s.must(t, "h2", `cp -r `+filepath.Join(checkout(t), "dist/plugin_"+runtime.GOARCH)+` next && echo next >next/rootfs/etc/build
docker plugin create $REGISTRY/weft:next next && docker plugin push $REGISTRY/weft:next && docker plugin rm $REGISTRY/weft:next`)
	},
}
