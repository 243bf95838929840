package event

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pathsOf parses paths that are known to be sound.
func pathsOf(tb testing.TB, texts ...string) []Path {
	tb.Helper()
	paths := make([]Path, len(texts))
	for i, text := range texts {
		p, err := ParsePath(text)
		if err != nil {
			tb.Fatal(err)
		}
		paths[i] = p
	}
	return paths
}
