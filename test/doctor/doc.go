// Package doctor tests `weft doctor` on a lab: nothing is found on a healthy
// one, and for each thing that is broken exactly that.
package doctor
