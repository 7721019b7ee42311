package claim

import "testing"

func TestBirths(t *testing.T) {
	for _, tt := range []struct {
		a, b Birth
		want bool
	}{
		{Birth{1, 9}, Birth{2, 3}, true}, // revisions begin anew in a wiped store
		{Birth{2, 3}, Birth{1, 9}, false},
		{Birth{2, 3}, Birth{2, 4}, true},
		{Birth{2, 4}, Birth{2, 4}, false},
		{Birth{2, 0}, Birth{2, 4}, false}, // not known: who has it keeps it
	} {
		if got := tt.a.Before(tt.b); got != tt.want {
			t.Errorf("%+v before %+v: %t", tt.a, tt.b, got)
		}
	}
}
