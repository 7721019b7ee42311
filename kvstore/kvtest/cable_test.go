package kvtest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/weft-net/weft/kvstore"
	"github.com/weft-net/weft/kvstore/kvtest"
)

// A cut ends what is under way and refuses everything until the cable is mended.
func TestCable(t *testing.T) {
	begun := make(chan struct{})
	cable := kvtest.NewCable(kvtest.Around(nil, func(ctx context.Context, r kvtest.Request, _ kvtest.Do) (kvtest.Answer, error) {
		if r.Method == kvtest.Hold {
			close(begun)
			<-ctx.Done()
		}
		return kvtest.Answer{}, nil
	}))
	go func() {
		<-begun
		cable.Cut()
	}()
	if err := cable.Hold(t.Context(), "name", "key", nil, time.Hour, nil); !errors.Is(err, kvstore.ErrUnavailable) {
		t.Errorf("a lease ends with %v", err)
	}
	if _, _, err := cable.List(t.Context(), ""); !errors.Is(err, kvstore.ErrUnavailable) {
		t.Errorf("cut, a reading fails with %v", err)
	}
	cable.Mend()
	if _, _, err := cable.List(t.Context(), ""); err != nil {
		t.Errorf("mended, a reading fails with %v", err)
	}
}
