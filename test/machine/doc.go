// Package machine tells on what a figure was measured, and how tables of figures
// are written.
package machine
