// Package upgrade takes over what the weft of an old commit has written, in place,
// one host after the other and under traffic. test/tools/install.sh has the commit.
package upgrade
