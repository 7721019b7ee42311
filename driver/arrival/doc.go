// Package arrival knows which containers are on their way. Docker has a link from Join
// on, and takes some tenths of a second to move it into the container and to bring it
// up there. What is sent to the container meanwhile finds nobody, so nobody is told its
// names before its link is up, or before half a minute is over: a link that never
// comes up, or of which the kernel cannot tell, must not cost a container its names.
//
// Nothing of it is recorded: to a weft that starts, all containers have arrived.
package arrival
