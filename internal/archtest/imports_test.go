// Package archtest holds the shape of the house: imports point one way,
// cmd → app → stream → {braze, mapping, event, catalog}.
package archtest

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "cohortsync/"

// anyone marks a package that may import every other but commands.
const anyone = "*"

// inner says which packages of this module each package may import. A package
// that is not here has no place in the house yet: give it one.
func inner() map[string][]string {
	return map[string][]string{
		"cmd/worker":               {"internal/app", "internal/config", "internal/healthcheck"},
		"cmd/demo":                 {anyone},
		"cmd/loadgen":              {"internal/event"},
		"cmd/bench":                {},
		"cmd/brazesim":             {"internal/braze", "internal/braze/brazetest", "internal/catalog", "internal/healthcheck"},
		"cmd/chaos":                {"internal/apachekafka", "internal/chaoscheck"},
		"internal/app":             {"internal/config", "internal/stream", "internal/stream/broker", "internal/braze", "internal/mapping", "internal/event", "internal/catalog"},
		"internal/config":          {"internal/catalog", "internal/event", "internal/mapping"},
		"internal/stream":          {"internal/braze", "internal/mapping", "internal/event", "internal/catalog"},
		"internal/stream/broker":   {"internal/stream"},
		"internal/braze":           {"internal/catalog"},
		"internal/braze/brazetest": {"internal/braze", "internal/catalog"},
		"internal/mapping":         {"internal/event", "internal/catalog"},
		"internal/event":           {},
		"internal/catalog":         {},
		"internal/healthcheck":     {},
		"internal/archtest":        {},
		"internal/kafkatest":       {},

		"internal/kafkatest/incontainer": {},
		"internal/apachekafka":           {},
		// It shares no code with the worker, lest both are wrong in the same way.
		"internal/chaoscheck": {},
	}
}

// innerForTests are packages that the tests of any package but the lowest may
// import on top: the simulated Braze, the identifiers that it speaks of, and
// the embedded Kafka.
func innerForTests() []string {
	return []string{"internal/braze/brazetest", "internal/catalog", "internal/kafkatest"}
}

// outer says for a package from outside, standard library included, who alone
// may import it. Tests are held to it only where forTests says so.
type outer struct {
	prefix   string
	only     []string
	forTests bool
	why      string
}

func outers() []outer {
	knowNothingOfKafka := []string{"internal/stream/broker", "internal/app", "cmd/demo", "cmd/worker", "cmd/loadgen", "cmd/bench"}
	return []outer{
		{prefix: "github.com/segmentio/kafka-go", only: []string{"internal/stream/broker", "cmd/demo", "cmd/loadgen", "cmd/bench"}, why: "Kafka is spoken in internal/stream/broker, and by what makes load"},
		{prefix: "github.com/segmentio/kafka-go", only: knowNothingOfKafka, forTests: true, why: "the packages below know nothing of Kafka, in their tests neither"},
		{prefix: "github.com/twmb/franz-go", only: []string{"cmd/demo", "cmd/bench", "cmd/chaos", "internal/kafkatest", "internal/apachekafka", "internal/chaoscheck"}, why: "the embedded broker is for tests, the demo and the benchmarks"},
		{prefix: "net/http", only: []string{"internal/app", "internal/healthcheck", "internal/braze", "internal/braze/brazetest", "cmd/brazesim", "cmd/demo", "cmd/worker", "cmd/loadgen", "cmd/bench", "cmd/chaos", "internal/chaoscheck"}, why: "stream and what is below it know nothing of HTTP"},
		{prefix: "github.com/alecthomas/kong", only: []string{"cmd/worker", "cmd/demo", "cmd/brazesim", "cmd/loadgen", "cmd/bench", "cmd/chaos"}, forTests: true, why: "arguments are the commands' matter"},
		{prefix: "github.com/Shopify/toxiproxy", only: []string{"cmd/chaos"}, forTests: true, why: "proxies are for chaos"},
		{prefix: "github.com/rs/zerolog", only: []string{"cmd/chaos"}, forTests: true, why: "toxiproxy alone speaks it; logs are log/slog"},
		{prefix: "github.com/goccy/go-yaml", only: []string{"internal/config"}, forTests: true, why: "the file is read in internal/config"},
		{prefix: "github.com/stretchr/testify", only: []string{"internal/kafkatest"}, why: "it is for tests"},
		{prefix: "pgregory.net/rapid", why: "it is for tests"},
		{prefix: "go.uber.org/goleak", why: "it is for tests"},
		{prefix: "github.com/testcontainers", only: []string{"internal/kafkatest/incontainer"}, forTests: true, why: "a test's binary has no Docker client: kafkatest runs one as a process"},
		{prefix: "github.com/moby", only: []string{"internal/kafkatest/incontainer"}, forTests: true, why: "a test's binary has no Docker client: kafkatest runs one as a process"},
		{prefix: "testing", only: []string{"cmd/demo", "internal/kafkatest"}, why: "it is for tests"},
	}
}

// edge is one import: of what, by which package, in a test file or not.
type edge struct {
	from, to string
	test     bool
}

// wrong says what is wrong with an import, or "".
func wrong(e edge) string {
	if rest, ours := strings.CutPrefix(e.to, module); ours {
		return wrongInside(e, rest)
	}
	for _, rule := range outers() {
		if !under(e.to, rule.prefix) || (e.test && !rule.forTests) {
			continue
		}
		if !slices.Contains(rule.only, e.from) {
			return fmt.Sprintf("%s imports %s: %s", e.from, e.to, rule.why)
		}
	}
	return ""
}

func wrongInside(e edge, to string) string {
	allowed, known := inner()[e.from]
	switch {
	case !known:
		return e.from + " is not in the table of packages"
	case strings.HasPrefix(to, "cmd/"):
		return fmt.Sprintf("%s imports the command %s", e.from, to)
	case to == e.from, slices.Contains(allowed, anyone), slices.Contains(allowed, to):
		return ""
	case e.test && len(allowed) > 0 && slices.Contains(innerForTests(), to):
		return ""
	default:
		return fmt.Sprintf("%s imports %s: imports point cmd → app → stream → {braze, mapping, event, catalog}", e.from, to)
	}
}

func under(p, prefix string) bool { return p == prefix || strings.HasPrefix(p, prefix+"/") }

func TestImportsPointOneWay(t *testing.T) {
	t.Parallel()
	edges := importsOf(t, filepath.Join("..", ".."))
	require.NotEmpty(t, edges, "no imports were found: the test looks in the wrong place")
	for _, e := range edges {
		if problem := wrong(e); problem != "" {
			t.Error(problem)
		}
	}
}

func TestAnImportAgainstTheDirectionIsFound(t *testing.T) {
	t.Parallel()
	for name, e := range map[string]edge{
		"stream speaks HTTP":                 {from: "internal/stream", to: "net/http"},
		"stream speaks Kafka":                {from: "internal/stream", to: "github.com/segmentio/kafka-go"},
		"braze speaks Kafka in a test":       {from: "internal/braze", to: "github.com/segmentio/kafka-go", test: true},
		"a part of kafka-go":                 {from: "internal/mapping", to: "github.com/segmentio/kafka-go/protocol"},
		"mapping imports stream":             {from: "internal/mapping", to: module + "internal/stream"},
		"event imports stream in a test":     {from: "internal/event", to: module + "internal/stream", test: true},
		"stream imports its broker":          {from: "internal/stream", to: module + "internal/stream/broker"},
		"stream imports config":              {from: "internal/stream", to: module + "internal/config"},
		"app imports a command":              {from: "internal/app", to: module + "cmd/worker"},
		"app imports the simulated Braze":    {from: "internal/app", to: module + "internal/braze/brazetest"},
		"worker imports the broker":          {from: "cmd/worker", to: module + "internal/stream/broker"},
		"app imports the embedded broker":    {from: "internal/app", to: module + "internal/kafkatest"},
		"app embeds a broker":                {from: "internal/app", to: "github.com/twmb/franz-go/pkg/kfake"},
		"a test speaks to Docker itself":     {from: "internal/app", to: "github.com/testcontainers/testcontainers-go", test: true},
		"production code imports a helper":   {from: "internal/braze", to: "github.com/stretchr/testify/require"},
		"a package nobody placed":            {from: "internal/util", to: module + "internal/event"},
		"the checker imports what it checks": {from: "internal/chaoscheck", to: module + "internal/stream"},
		"the checker decodes as the worker":  {from: "internal/chaoscheck", to: module + "internal/event"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.NotEmpty(t, wrong(e))
		})
	}
}

func TestAnImportInTheDirectionIsFine(t *testing.T) {
	t.Parallel()
	for name, e := range map[string]edge{
		"app wires the broker":                {from: "internal/app", to: module + "internal/stream/broker"},
		"stream tests use simulated Braze":    {from: "internal/stream", to: module + "internal/braze/brazetest", test: true},
		"app's tests use an embedded Kafka":   {from: "internal/app", to: module + "internal/kafkatest", test: true},
		"a test of a package imports it":      {from: "internal/event", to: module + "internal/event", test: true},
		"the demo embeds a broker":            {from: "cmd/demo", to: "github.com/twmb/franz-go/pkg/kfake"},
		"the broker's tests embed one, too":   {from: "internal/stream/broker", to: "github.com/twmb/franz-go/pkg/kfake", test: true},
		"a name that only begins like a rule": {from: "internal/event", to: "net/httpx"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Empty(t, wrong(e))
		})
	}
}

// importsOf parses the imports of every Go file of the module, whatever its
// build tags; of nested modules none.
func importsOf(t *testing.T, root string) []edge {
	t.Helper()
	var edges []edge
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); name == "testdata" || name == "tools" || (strings.HasPrefix(name, ".") && file != root) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(file, ".go") {
			return nil
		}
		syntax, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return fmt.Errorf("parsing the imports of %s: %w", file, err)
		}
		relative, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		for _, spec := range syntax.Imports {
			to, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			edges = append(edges, edge{
				from: path.Dir(filepath.ToSlash(relative)), to: to,
				test: strings.HasSuffix(file, "_test.go"),
			})
		}
		return nil
	})
	require.NoError(t, err)
	return edges
}
