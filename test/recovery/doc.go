// Package recovery tests that hosts get over the loss of what they have
// written down, in a lab of its own.
package recovery
