package format

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/weft-net/weft/kvstore"
)

// Current is the format that this weft reads and writes.
const Current = 1

// MaxBytes is the most that a record may have: a host must be able to write what it
// takes over to its state, with a key, in one transaction.
const MaxBytes = kvstore.MaxBytes - 1<<10

// Kind says in one word what is wrong with a record.
type Kind string

// The kinds of faults.
const (
	Unreadable Kind = "unreadable" // it is not the JSON that it should be
	Large      Kind = "large"      // it is too large
	Newer      Kind = "newer"      // it is for a later version of weft
	Senseless  Kind = "senseless"  // a value in it cannot be
	Unknown    Kind = "unknown"    // weft has no record of such a key
)

// Kinds are all kinds, in a fixed order.
var Kinds = []Kind{Unreadable, Large, Newer, Senseless, Unknown}

// Fault is why a record cannot be used. It is an error whose text ends a sentence
// that begins with the record's key.
type Fault struct {
	Kind Kind
	Why  string
}

// Error implements error.
func (f *Fault) Error() string { return f.Why }

// Faultf makes a Fault.
func Faultf(kind Kind, why string, args ...any) *Fault {
	return &Fault{Kind: kind, Why: fmt.Sprintf(why, args...)}
}

// AsFault finds the Fault in err, or gives nil: then it is not the record's fault.
func AsFault(err error) *Fault {
	f, _ := errors.AsType[*Fault](err)
	return f
}

// needs are the members of a record that say who may use it.
type needs struct {
	Reader int `json:"v"`
	Writer int `json:"w"`
}

func (n needs) readable() error {
	if n.Reader <= Current {
		return nil
	}
	return Faultf(Newer, "is for a weft of format %d or later, and this one has format %d: update weft on this host", n.Reader, Current)
}

func (n needs) writable() error {
	if max(n.Reader, n.Writer) <= Current {
		return nil
	}
	return Faultf(Newer, "may be changed only by a weft of format %d or later, and this one has format %d: update weft on this host", max(n.Reader, n.Writer), Current)
}

// needsOf finds what a record says of who may use it.
func needsOf(value []byte) (n needs, err error) {
	if !bytes.Contains(value, []byte(`"v"`)) && !bytes.Contains(value, []byte(`"w"`)) {
		return n, nil // the usual case
	}
	if err := json.Unmarshal(value, &n); err != nil {
		return n, Faultf(Unreadable, "is not what weft writes: %s", reason(err))
	}
	return n, nil
}

// Decode reads a record. What it returns is nil or a Fault.
func Decode[T any](value []byte) (T, error) {
	var v, none T
	if len(value) > MaxBytes {
		return none, Faultf(Large, "has %d bytes, and weft reads at most %d", len(value), MaxBytes)
	}
	if trimmed := bytes.TrimLeft(value, " \t\r\n"); len(trimmed) == 0 || trimmed[0] != '{' {
		return none, Faultf(Unreadable, "is no JSON object")
	}
	n, err := needsOf(value)
	if err == nil {
		err = n.readable()
	}
	if err != nil {
		return none, err
	}
	if err := json.Unmarshal(value, &v); err != nil {
		return none, Faultf(Unreadable, "is not what weft writes: %s", reason(err))
	}
	return v, nil
}

// MayWrite says whether this weft may write over a record, or delete it. What it
// returns is nil or a Fault; what cannot be read demands nothing.
func MayWrite(value []byte) error {
	n, err := needsOf(value)
	if err != nil {
		return nil //nolint:nilerr // see above
	}
	return n.writable()
}

// Writable says whether this weft may write a record that has these members beside
// those that it knows. What it returns is nil or a Fault.
func Writable(rest map[string]json.RawMessage) error {
	var n needs
	for name, to := range map[string]*int{"v": &n.Reader, "w": &n.Writer} {
		if raw, ok := rest[name]; ok && json.Unmarshal(raw, to) != nil {
			return Faultf(Unreadable, "does not say which weft may write it: it has %q as %.20s", name, raw)
		}
	}
	return n.writable()
}

// reason is a JSON error without the name of the package, in one line.
func reason(err error) string {
	return string(bytes.TrimPrefix([]byte(fmt.Sprintf("%.200s", err.Error())), []byte("json: ")))
}
