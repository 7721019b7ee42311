// Package names tests names as containers see them: real dockerds on several
// hosts of a lab, stock images, real resolver libraries. It has nothing but
// tests.
package names
