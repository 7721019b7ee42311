// Package plugin serves Docker's plugin protocol on a unix socket: one POST
// per method with a JSON body, answered by JSON. Its only own method is
// Plugin.Activate; the drivers add theirs with Handle.
//
// Docker repeats a call whose connection broke, and the repeat has an empty
// body (the client sends a buffer that has been read already), so a method
// with arguments refuses an empty body, and every method must be idempotent.
package plugin
