package overlay

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Rest are the members of a record's JSON that this version of weft does not know, by
// name; nil if there are none. They are written back with the record, so that an older
// version does not remove what a newer one has added.
type Rest map[string]json.RawMessage

// MarshalRest encodes record, which is a struct, with its rest.
func MarshalRest(record any, rest Rest) ([]byte, error) {
	b, err := json.Marshal(record)
	if err != nil || len(rest) == 0 {
		return b, err
	}
	out := bytes.NewBuffer(bytes.TrimSuffix(b, []byte("}")))
	for _, name := range slices.Sorted(maps.Keys(rest)) {
		if out.Len() > 1 {
			out.WriteByte(',')
		}
		text, err := json.Marshal(name)
		if err != nil {
			return nil, fmt.Errorf("encode the member %q: %w", name, err)
		}
		out.Write(text)
		out.WriteByte(':')
		out.Write(rest[name])
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}

// UnmarshalRest decodes b into record, which points to a struct, and gives the members
// for which the struct has no field.
func UnmarshalRest(b []byte, record any) (Rest, error) {
	known := json.NewDecoder(bytes.NewReader(b))
	known.DisallowUnknownFields()
	if known.Decode(record) == nil { // the usual case, in one go
		return nil, nil
	}
	reflect.ValueOf(record).Elem().SetZero()
	if err := json.Unmarshal(b, record); err != nil {
		return nil, err
	}
	var rest Rest
	if err := json.Unmarshal(b, &rest); err != nil {
		return nil, err
	}
	names := members(reflect.TypeOf(record).Elem())
	maps.DeleteFunc(rest, func(name string, _ json.RawMessage) bool {
		return slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) }) // as encoding/json compares
	})
	if len(rest) == 0 {
		return nil, nil
	}
	for name, value := range rest {
		var compact bytes.Buffer
		if err := json.Compact(&compact, value); err != nil {
			return nil, err
		}
		rest[name] = compact.Bytes()
	}
	return rest, nil
}

// members are the names that the fields of a struct have in JSON.
func members(t reflect.Type) []string {
	var out []string
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-":
		case f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct:
			out = append(out, members(f.Type)...)
		case name != "":
			out = append(out, name)
		default:
			out = append(out, f.Name)
		}
	}
	return out
}

// MarshalJSON implements json.Marshaler.
func (n Network) MarshalJSON() ([]byte, error) {
	type plain Network
	return MarshalRest(plain(n), n.Rest)
}

// UnmarshalJSON implements json.Unmarshaler.
func (n *Network) UnmarshalJSON(b []byte) (err error) {
	type plain Network
	var p plain
	rest, err := UnmarshalRest(b, &p)
	*n = Network(p)
	n.Rest = rest
	return err
}

// MarshalJSON implements json.Marshaler.
func (s Subnet) MarshalJSON() ([]byte, error) {
	type plain Subnet
	return MarshalRest(plain(s), s.Rest)
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *Subnet) UnmarshalJSON(b []byte) (err error) {
	type plain Subnet
	var p plain
	rest, err := UnmarshalRest(b, &p)
	*s = Subnet(p)
	s.Rest = rest
	return err
}
