package lab_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/weft-net/weft/test/lab"
)

// consulKVOnce makes one request of Consul's key-value API from h1's network.
func consulKVOnce(t *testing.T, l *lab.Lab, method, url, body string) (string, error) {
	t.Helper()
	client := l.Host("h1").HTTPClient()
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, text)
	}
	return string(text), err
}
