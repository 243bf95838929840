package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"cohortsync/internal/catalog"
)

func parsed(t *testing.T, text string) *Config {
	t.Helper()
	c, warnings, err := Parse("f", []byte(text), keysSet())
	require.NoError(t, err)
	require.Empty(t, warnings)
	return c
}

func TestBrazeIsTheTargetDefaultBesideTargets(t *testing.T) {
	t.Parallel()
	c := parsed(t, valid+braze("${env:B}")+"syncs: [{cohort_id: c1}, {cohort_id: '*', target: A, linger: 5s}]\ndelivery: {linger: 2s}\n")
	require.Equal(t, "Default", c.Targets[0].Name)
	require.Equal(t, "cohortsync.default", c.Kafka.GroupOf(c.Targets[0]))
	require.Equal(t, "changes.dead-letter", c.Kafka.DeadLetterTopic)
	require.Equal(t, []catalog.Sync{
		{Name: "c1", CohortID: "c1", Target: "Default", Linger: 2 * time.Second},
		{Name: "*", CohortID: "*", Target: "A", Linger: 5 * time.Second},
	}, c.Syncs)
}

func TestBrazeAloneHasTheSameGroupAsBesideTargets(t *testing.T) {
	t.Parallel()
	c := parsed(t, kafkaBlock+braze("${env:B}"))
	require.Len(t, c.Targets, 1)
	require.Equal(t, "cohortsync.default", c.Kafka.GroupOf(c.Targets[0]))
}

func TestSlugsAreLowerCaseWordsJoinedByDashes(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{"US Production": "us-production", " a -- B!": "a-b", "東京": "", "x1": "x1"} {
		require.Equal(t, want, slug(name), name)
	}
}

func TestAnyEndpointIsTakenOnlyWhenTheTargetSaysSo(t *testing.T) {
	t.Parallel()
	c := parsed(t, strings.Replace(valid, "https://rest.iad-01.braze.com", "http://127.0.0.1:9000/braze/\n    allow_any_endpoint: true", 1))
	require.Equal(t, "http://127.0.0.1:9000/braze", c.Targets[0].Endpoint)
}

func TestEndpointsHaveOneSpelling(t *testing.T) {
	t.Parallel()
	c := parsed(t, strings.Replace(valid, "https://rest.iad-01.braze.com", "https://REST.iad-01.braze.com:443/", 1))
	require.Equal(t, "https://rest.iad-01.braze.com", c.Targets[0].Endpoint)
}

func TestAnchorsAndAliasesWork(t *testing.T) {
	t.Parallel()
	c := parsed(t, strings.Replace(valid, "topic: changes", "topic: changes\n  session_timeout: &t 40s\n  rebalance_timeout: *t", 1))
	require.Equal(t, 40*time.Second, c.Kafka.RebalanceTimeout)
}

func TestAmountsAndTimesAreRead(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Bytes{"256MiB": 256 << 20, "64MB": 64e6, "1048576": 1 << 20, "2GiB": 2 << 30} {
		require.Equal(t, want, parsed(t, valid+"delivery: {max_memory: "+text+"}\n").Delivery.MaxMemory)
	}
	c := parsed(t, strings.Replace(valid, "targets:", "  start_from: 2026-01-31T09:00:00Z\ntargets:", 1))
	require.Equal(t, StartFrom{At: StartTime, Time: time.Date(2026, 1, 31, 9, 0, 0, 0, time.UTC)}, c.Kafka.StartFrom)
}

func TestSecretsAreReadAnewAndLoseOneNewline(t *testing.T) {
	t.Parallel()
	files := map[string]string{"/key": "first\n\n"}
	s := NewSecret("${file:/key}", source(nil, files))
	got, err := s.Resolve()
	require.NoError(t, err)
	require.Equal(t, "first\n", got)
	files["/key"] = "second"
	got, err = s.Resolve()
	require.NoError(t, err)
	require.Equal(t, "second", got)
}

func TestSecretsShowThemselvesNowhere(t *testing.T) {
	t.Parallel()
	type holder struct{ Key Secret }
	for text, want := range map[string]string{"s3cret": redacted, "${env:A}": "${env:A}", "${s3cret": redacted} {
		s := NewSecret(text, keysSet())
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "s", s, "h", holder{s})
		j, err := json.Marshal(holder{s})
		require.NoError(t, err)
		y, err := yaml.Marshal(holder{s})
		require.NoError(t, err)
		require.Equal(t, want, s.String())
		for _, shown := range []string{fmt.Sprintf("%v %+v %#v %s %q %x %d", s, holder{s}, holder{s}, s, s, s, s), log.String(), string(j), string(y)} {
			require.NotContains(t, shown, "s3cret")
			require.NotContains(t, shown, fmt.Sprintf("%x", "s3cret"))
		}
	}
}

func TestReferencesThatLeadNowhereAreReportedWithTheRest(t *testing.T) {
	t.Parallel()
	from := source(map[string]string{"P": ""}, map[string]string{"/ca": "nothing", "/cert": "x", "/key": "y"})
	file := strings.Replace(valid, "${env:A}", "${file:/none}", 1)
	_, _, err := Parse("f", []byte(file), from)
	require.NoError(t, err, "who talks to Kafka alone needs no Braze key")
	_, _, err = ParseAll("f", []byte(file+"x: 1\n"), from)
	require.EqualError(t, err, `f:7:22: targets[0].partner_api_key: resolving ${env:P}: it is empty; set it for this process, or correct the reference
f:8:14: targets[0].api_key: resolving ${file:/none}: open /none: file does not exist; set it for this process, or correct the reference
f:10:1: x: is an unknown key; known here: kafka, braze, targets, syncs, delivery, http, log`)
	_, _, err = ParseAll("f", []byte(valid), keysSet())
	require.NoError(t, err)

	tlsFile := func(files string) string {
		return strings.Replace(valid, "targets:", "  tls: {enabled: true, "+files+"}\ntargets:", 1)
	}
	for files, want := range map[string]string{
		"ca_file: /gone":                    "f:4:33: kafka.tls.ca_file: cannot be read: open /gone: file does not exist",
		"ca_file: /ca":                      "f:4:33: kafka.tls.ca_file: holds no certificate in PEM form",
		"cert_file: /cert, key_file: /gone": "f:4:52: kafka.tls.key_file: cannot be read",
		"cert_file: /cert, key_file: /key":  "f:4:35: kafka.tls.cert_file: does not go with key_file",
	} {
		_, _, err := ParseAll("f", []byte(tlsFile(files)), source(map[string]string{"P": "p", "A": "a"}, map[string]string{"/ca": "nothing", "/cert": "x", "/key": "y"}))
		require.ErrorContains(t, err, want)
	}
}

func TestOneCredentialHasOneID(t *testing.T) {
	t.Parallel()
	c := parsed(t, valid+second("env:A", "env:A2")+second("name: A", "name: C", "env:A", "env:B"))
	require.Equal(t, c.Targets[0].CredentialID(), c.Targets[1].CredentialID())
	require.NotEqual(t, c.Targets[0].CredentialID(), c.Targets[2].CredentialID())
	require.Len(t, c.Targets[0].CredentialID(), 12)
}

func TestPrintedConfigurationsMeanTheSame(t *testing.T) {
	t.Parallel()
	c := parsed(t, valid+braze("${env:B}")+"syncs: [{cohort_id: c1}, {cohort_id: '*', target: A}]\n")
	var once, again bytes.Buffer
	require.NoError(t, c.Print(&once))
	require.NoError(t, parsed(t, once.String()).Print(&again))
	require.Equal(t, once.String(), again.String())
}

func TestTheAttributesAPIHasDefaultsOfItsOwn(t *testing.T) {
	t.Parallel()
	c := parsed(t, attributes("")+"syncs: [{cohort_id: c1, target: A, linger: 0}]\n")
	a := c.Targets[0]
	require.Equal(t, catalog.Limit{Requests: 3000, Per: 3 * time.Second, Burst: 70}, a.RateLimit)
	require.Equal(t, 75, a.MaxBatch)
	require.Equal(t, time.Second, a.ReorderGuard)
	require.Equal(t, "cohort_{cohort_id}", a.Attribute)
	require.Empty(t, a.Partner)
	require.Zero(t, c.Syncs[0].Linger)

	given := parsed(t, attributes("rate_limit: {requests: 9}\n    max_batch: 5\n    reorder_guard: 2s\n    attribute: in_{sync}")).Targets[0]
	require.Equal(t, catalog.Limit{Requests: 9, Per: 3 * time.Second, Burst: 70}, given.RateLimit)
	require.Equal(t, 5, given.MaxBatch)
	require.Equal(t, 2*time.Second, given.ReorderGuard)
	require.Equal(t, "in_{sync}", given.Attribute)

	var once, again bytes.Buffer
	require.NoError(t, c.Print(&once))
	require.Contains(t, once.String(), "linger: 0s")
	require.NotContains(t, once.String(), "partner")
	require.NoError(t, parsed(t, once.String()).Print(&again))
	require.Equal(t, once.String(), again.String())
}

func TestOneKeyOnTwoAPIsIsTwoCredentials(t *testing.T) {
	t.Parallel()
	c := parsed(t, valid+more(attributes("")))
	require.NotEqual(t, c.Targets[0].CredentialID(), c.Targets[1].CredentialID())
}

func TestPlainSecretsArePrintedRedacted(t *testing.T) {
	t.Parallel()
	c, warnings, err := Parse("f", []byte(strings.Replace(valid, "${env:A}", "s3cret", 1)), keysSet())
	require.NoError(t, err)
	require.Len(t, warnings, 1)
	var out bytes.Buffer
	require.NoError(t, c.Print(&out))
	require.Contains(t, out.String(), "api_key: <redacted>")
	require.NotContains(t, out.String(), "s3cret")
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(data)
}

const example = "../../cohortsync.example.yaml"

// uncommented is the example with its commented-out keys switched on.
func uncommented(t *testing.T) string {
	t.Helper()
	return regexp.MustCompile(`(?m)^(\s*)# (\s*[a-z_]+: ?.*)$`).ReplaceAllString(
		strings.SplitN(read(t, example), "\n", 2)[1], "$1$2")
}

func TestTheExampleWorksAsItIs(t *testing.T) {
	t.Parallel()
	_, _, err := ParseAll("example", []byte(read(t, example)), keysSet())
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(read(t, example), "# yaml-language-server: $schema=docs/config.schema.json\n"))
}

// TestTheExampleShowsEveryKeyWithItsDefault walks the schema, which is made
// from the table that decodes, beside the example.
func TestTheExampleShowsEveryKeyWithItsDefault(t *testing.T) {
	t.Parallel()
	var shown, schema map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(uncommented(t)), &shown))
	data, err := Schema()
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &schema))
	require.Contains(t, shown, "braze")
	delete(schema["properties"].(map[string]any), "braze") // the keys of a target
	compare(t, "", schema, shown)
}

func compare(t *testing.T, path string, schema map[string]any, shown any) {
	t.Helper()
	if items, ok := schema["items"].(map[string]any); ok && items["properties"] != nil {
		list := shown.([]any)
		compare(t, path+"[]", items, list[len(list)-1])
		return
	}
	properties, ok := schema["properties"].(map[string]any)
	if !ok {
		if def, has := schema["default"]; has {
			require.Equal(t, fmt.Sprint(def), fmt.Sprint(shown), path)
		}
		return
	}
	for name, property := range properties {
		block, ok := shown.(map[string]any)
		require.True(t, ok, path)
		require.Contains(t, block, name, "the example does not mention it")
		compare(t, path+"."+name, property.(map[string]any), block[name])
	}
}

func TestTheSchemaOnDiskIsTheCodes(t *testing.T) {
	t.Parallel()
	schema, err := Schema()
	require.NoError(t, err)
	golden(t, "../../docs/config.schema.json", string(schema))
}

func TestTheSchemaTakesTheExampleAndRefusesUnknownKeys(t *testing.T) {
	t.Parallel()
	data, err := Schema()
	require.NoError(t, err)
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	require.NoError(t, err)
	compiler := jsonschema.NewCompiler()
	require.NoError(t, compiler.AddResource("schema.json", doc))
	schema, err := compiler.Compile("schema.json")
	require.NoError(t, err)
	for text, fits := range map[string]bool{read(t, example): true, uncommented(t): true, valid + "x: 1\n": false, kafkaBlock + "targets: [{}]\n": false} {
		asJSON, err := yaml.YAMLToJSON([]byte(text))
		require.NoError(t, err)
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(asJSON))
		require.NoError(t, err)
		require.Equal(t, fits, schema.Validate(value) == nil, "%v", schema.Validate(value))
	}
}

func TestTheReferenceMentionsEveryKey(t *testing.T) {
	t.Parallel()
	reference := read(t, "../../docs/configuration.md")
	c := defaults()
	d := draft{Config: &c, braze: defaultTarget()}
	var walk func(path string, v value)
	walk = func(path string, v value) {
		switch v := v.(type) {
		case unbuilt:
			return
		case block:
			for _, k := range v {
				walk(strings.TrimPrefix(path+"."+k.name, "."), k.value)
			}
			return
		case list[Target]:
			element := v.fresh()
			walk(path+"[]", v.of(&element))
			return
		case list[catalog.Sync]:
			element := v.fresh()
			walk(path+"[]", v.of(&element))
			return
		case list[catalog.Rule]:
			element := v.fresh()
			walk(path+"[]", v.of(&element))
			return
		}
		require.Contains(t, reference, "| `"+path+"` |")
	}
	for _, k := range without(d.keys(), "braze") {
		walk(k.name, k.value)
	}
	require.Contains(t, reference, "`braze`")
}
