package main

import "strings"

// variable is the environment variable of a flag of `weft serve`.
func variable(flag string) string {
	return "WEFT_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// consulVariables are what Consul's client reads for itself, so far as it
// concerns weft (https://developer.hashicorp.com/consul/commands#environment-variables).
var consulVariables = []struct{ name, text string }{
	{"CONSUL_HTTP_TOKEN", "Consul's ACL token"},
	{"CONSUL_HTTP_TOKEN_FILE", "a file with that token"},
	{"CONSUL_HTTP_SSL", "true if Consul is behind TLS"},
	{"CONSUL_HTTP_SSL_VERIFY", "false to accept any certificate"},
	{"CONSUL_CACERT", "file with the certificate of the authority that Consul's was signed by"},
	{"CONSUL_CAPATH", "directory of such files"},
	{"CONSUL_CLIENT_CERT", "file with weft's own certificate, for a Consul that asks for one"},
	{"CONSUL_CLIENT_KEY", "file with its key"},
	{"CONSUL_TLS_SERVER_NAME", "name that Consul's certificate must have, if not the one in --store"},
	{"CONSUL_NAMESPACE", "Consul Enterprise: the namespace"},
	{"CONSUL_PARTITION", "Consul Enterprise: the partition"},
}
