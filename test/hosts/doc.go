// Package hosts tests weft as its users meet it: real dockerds on several hosts
// of a lab, a real Consul, the docker command. It has nothing but tests.
package hosts
