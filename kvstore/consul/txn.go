package consul

import (
	"context"
	"fmt"
	"strings"

	"github.com/hashicorp/consul/api"

	"github.com/weft-net/weft/kvstore"
)

// Txn implements kvstore.Store. It is one request, and one entry of Consul's
// log. KV's own calls would not tell the revision.
func (s *Store) Txn(ctx context.Context, ops ...kvstore.Op) ([]kvstore.Pair, error) {
	err := kvstore.CheckOps(ops)
	var out []kvstore.Pair
	if err == nil {
		err = s.during(ctx, false, func(ctx context.Context) (err error) {
			out, err = s.txn(ctx, ops)
			return err
		})
	}
	if err != nil {
		return nil, fmt.Errorf("write: %w", err)
	}
	return out, nil
}

func (s *Store) txn(ctx context.Context, ops []kvstore.Op) ([]kvstore.Pair, error) {
	if len(ops) == 0 {
		return nil, nil
	}
	repeatable := true
	all := make(api.TxnOps, len(ops))
	for i, op := range ops {
		all[i] = &api.TxnOp{KV: s.op(op)}
		repeatable = repeatable && (op.Kind == kvstore.Set || op.Kind == kvstore.Delete)
	}
	results, err := s.transact(ctx, repeatable, all)
	if err != nil {
		return nil, err
	}
	// There is a result for each operation that leaves or looks at a pair.
	var out []kvstore.Pair
	for _, op := range ops {
		if op.Kind == kvstore.Delete || op.Kind == kvstore.DeleteCAS || op.Kind == kvstore.Check && op.Revision == 0 {
			continue
		}
		if len(results) == 0 || results[0].KV == nil || results[0].KV.Key != s.key(op.Key) {
			return nil, fmt.Errorf("%w: Consul's answer to a transaction lacks %s", kvstore.ErrUnavailable, op.Key)
		}
		if op.Kind != kvstore.Check {
			p := s.pair(results[0].KV)
			p.Value = nil
			out = append(out, p)
		}
		results = results[1:]
	}
	return out, nil
}

// op makes an operation of Consul's.
func (s *Store) op(op kvstore.Op) *api.KVTxnOp {
	out := &api.KVTxnOp{Key: s.key(op.Key), Index: op.Revision}
	switch op.Kind {
	case kvstore.Set:
		out.Verb, out.Value = api.KVSet, op.Value
	case kvstore.CAS:
		out.Verb, out.Value = api.KVCAS, op.Value
	case kvstore.Delete:
		out.Verb = api.KVDelete
	case kvstore.DeleteCAS:
		out.Verb = api.KVDeleteCAS
	case kvstore.Check:
		out.Verb = api.KVCheckIndex
		if op.Revision == 0 {
			out.Verb = api.KVCheckNotExists
		}
	}
	return out
}

func (s *Store) transact(ctx context.Context, repeatable bool, ops api.TxnOps) (api.TxnResults, error) {
	var results api.TxnResults
	err := s.call(ctx, "txn", repeatable, func(ctx context.Context, c *api.Client) error {
		ok, resp, _, err := c.Txn().Txn(ops, read(ctx))
		if err != nil {
			return err
		}
		if !ok {
			return s.rolledBack(ops, resp.Errors)
		}
		results = resp.Results
		return nil
	})
	return results, err
}

// rolledBack tells the reasons for which Consul refuses a transaction apart.
// They differ by their text alone.
func (s *Store) rolledBack(ops api.TxnOps, errs api.TxnErrors) error {
	for _, e := range errs {
		if strings.Contains(e.What, "Permission denied") {
			return fmt.Errorf("%w: %s; check CONSUL_HTTP_TOKEN and its policy", kvstore.ErrDenied, e.What)
		}
	}
	if len(errs) == 0 {
		return fmt.Errorf("%w: transaction was rolled back without a reason", kvstore.ErrUnavailable)
	}
	first := errs[0]
	if first.OpIndex < 0 || first.OpIndex >= len(ops) || !isConflict(first.What) {
		return fmt.Errorf("%w: %s", kvstore.ErrInvalid, first.What)
	}
	return &kvstore.ConflictError{Op: first.OpIndex, Key: strings.TrimPrefix(ops[first.OpIndex].KV.Key, s.cfg.Prefix+"/")}
}

// isConflict says whether what is the text of a condition that did not hold: in
// turn those of cas and delete-cas, check-index of another index and of an
// absent key, check-not-exists, lock, lock within the lock delay, and a lock by
// a session that is gone.
func isConflict(what string) bool {
	for _, text := range []string{
		"index is stale", "current modify index", "doesn't exist", "\" exists", "already held", "lock delay", "invalid session",
	} {
		if strings.Contains(what, text) {
			return true
		}
	}
	return false
}
