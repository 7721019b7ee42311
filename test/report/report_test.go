package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// said is what go test -json says of two packages side by side, of which one fails.
const said = `{"Action":"start","Package":"a"}
{"Action":"start","Package":"b"}
{"Action":"output","Package":"a","Output":"-test.shuffle 1\n"}
{"Action":"output","Package":"a","Test":"TestGood","Output":"=== RUN   TestGood\n"}
{"Action":"output","Package":"b","Test":"TestBad","Output":"=== RUN   TestBad\n"}
{"Action":"output","Package":"a","Test":"TestGood","Output":"--- PASS: TestGood (0.50s)\n"}
{"Action":"pass","Package":"a","Test":"TestGood","Elapsed":0.5}
{"Action":"output","Package":"b","Test":"TestFine","Output":"=== RUN   TestFine\n"}
{"Action":"output","Package":"b","Test":"TestBad","Output":"    b_test.go:9: it is bad\n"}
{"Action":"pass","Package":"b","Test":"TestFine","Elapsed":1}
{"Action":"pass","Package":"b","Test":"TestBad/part","Elapsed":1}
{"Action":"output","Package":"b","Test":"TestBad","Output":"--- FAIL: TestBad (12.00s)\n"}
{"Action":"fail","Package":"b","Test":"TestBad","Elapsed":12}
{"Action":"output","Package":"b","Output":"FAIL\n"}
{"Action":"output","Package":"b","Output":"FAIL\tb\t13s\n"}
{"Action":"fail","Package":"b","Elapsed":13}
{"Action":"output","Package":"a","Output":"PASS\n"}
{"Action":"output","Package":"a","Output":"ok  \ta\t14s\n"}
{"Action":"pass","Package":"a","Elapsed":14}
`

func read(t *testing.T, all bool, input string) (out, times string) {
	t.Helper()
	var o, ts strings.Builder
	if err := newReport(&o, &ts, all).read(strings.NewReader(input)); err != nil {
		t.Fatal(err)
	}
	return o.String(), ts.String()
}

func TestWhatPassedIsOneLine(t *testing.T) {
	out, times := read(t, false, said)
	if diff := cmp.Diff("ok  \ta\t14s\n=== RUN   TestBad\n    b_test.go:9: it is bad\n--- FAIL: TestBad (12.00s)\nFAIL\nFAIL\tb\t13s\n", out); diff != "" {
		t.Error("(-want +got)\n", diff)
	}
	if diff := cmp.Diff("0.50 a TestGood\n1.00 b TestFine\n12.00 b TestBad\n", times); diff != "" {
		t.Error("(-want +got)\n", diff)
	}
}

func TestPackagesAreNotMixed(t *testing.T) {
	out, _ := read(t, true, said)
	want := "-test.shuffle 1\n=== RUN   TestGood\n--- PASS: TestGood (0.50s)\nPASS\nok  \ta\t14s\n" +
		"=== RUN   TestBad\n=== RUN   TestFine\n    b_test.go:9: it is bad\n--- FAIL: TestBad (12.00s)\nFAIL\nFAIL\tb\t13s\n"
	if diff := cmp.Diff(want, out); diff != "" {
		t.Error("(-want +got)\n", diff)
	}
}

func TestWhatWasCutOffIsPrinted(t *testing.T) {
	for _, end := range []string{`{"Action":"fail","Package":"a","Elapsed":1}` + "\n", ""} {
		out, _ := read(t, false, `{"ImportPath":"c","Action":"build-output","Output":"c.go:1: no\n"}
no JSON
{"Action":"output","Package":"a","Test":"TestHangs","Output":"panic: test timed out after 15m\n"}
`+end)
		if want := "c.go:1: no\nno JSON\npanic: test timed out after 15m\n"; out != want {
			t.Errorf("it prints %q, want %q", out, want)
		}
	}
}
