package config

import (
	"errors"
	"flag"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var update = flag.Bool("update", false, "rewrite the golden files")

// source answers from maps instead of the environment and the disk.
func source(env, files map[string]string) Source {
	return Source{
		Env: func(name string) (string, bool) { v, ok := env[name]; return v, ok },
		ReadFile: func(path string) ([]byte, error) {
			if text, ok := files[path]; ok {
				return []byte(text), nil
			}
			return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
		},
	}
}

func keysSet() Source {
	return source(map[string]string{
		"P": "partner", "A": "key-a", "B": "key-b", "A2": "key-a",
		"BRAZE_PARTNER_KEY": "p", "BRAZE_US_KEY": "u",
	}, map[string]string{"/key": "key-a\n"})
}

const kafkaBlock = "kafka:\n  brokers: [localhost:9092]\n  topic: changes\n"

const targetA = `  - name: A
    endpoint: https://rest.iad-01.braze.com
    partner_api_key: ${env:P}
    api_key: ${env:A}
    identifiers: [{from: user_id, to: external_id}]
`

const valid = kafkaBlock + "targets:\n" + targetA

// second is a target B that differs from A as the replacements say.
func second(replace ...string) string {
	return strings.NewReplacer(append(replace, "name: A", "name: B")...).Replace(targetA)
}

func TestEachProblemIsReportedWithItsPlace(t *testing.T) {
	t.Parallel()
	target := func(from, to string) string { return strings.Replace(valid, from, to, 1) }
	endpoint := func(url string) string { return target("https://rest.iad-01.braze.com", url) }
	kafka := func(line string) string { return strings.Replace(valid, "targets:", "  "+line+"\ntargets:", 1) }
	onA := func(line string) string { return valid + "    " + line + "\n" }
	syncs := func(lines string) string { return valid + "syncs:\n" + lines }

	for name, tc := range map[string]struct {
		file string
		want string // "line:column: path: what", the beginning of the one problem
	}{
		"not YAML":                    {"kafka: [", "1:8: is not valid YAML"},
		"not YAML, with a secret":     {target("${env:A}", "|S3CRETVALUE"), "8:14: is not valid YAML: invalid header option"},
		"broker with a password":      {target("localhost:9092", "kafka://svc:S3CRETVALUE@b:9092"), "2:13: kafka.brokers[0]: holds a user or password"},
		"not a block":                 {"- a\n", "1:1: is a list"},
		"two documents":               {valid + "---\na: 1\n", "11:1: is a second document"},
		"unknown key":                 {kafka("topics: x"), `4:3: kafka.topics: is an unknown key; did you mean topic?`},
		"unknown key unlike any":      {valid + "zzzzzzzz: 1\n", "10:1: zzzzzzzz: is an unknown key; known here: kafka, braze"},
		"duplicate key":               {kafka("topic: x"), "4:3: kafka.topic: is given twice; keep this one or that of line 3"},
		"wrong type, block":           {kafka("tls: yes"), "4:8: kafka.tls: is text; want a block"},
		"wrong type, list":            {target("[localhost:9092]", "localhost:9092"), "2:12: kafka.brokers: is text; want a list"},
		"wrong type, number":          {onA("max_batch: many"), "10:16: targets[0].max_batch: is text; want a whole number from 1 to 1000"},
		"wrong type, flag":            {kafka("allow_compacted: 1"), "4:20: kafka.allow_compacted: is a number; want true or false"},
		"wrong type, text":            {kafka("group: 5"), "4:10: kafka.group: is a number to YAML"},
		"no value":                    {kafka("group:"), "4:3: kafka.group: has no value"},
		"reference outside a secret":  {kafka(`group: "${env:G}"`), "4:10: kafka.group: is a reference, which only secrets may be"},
		"bad duration":                {valid + "delivery: {linger: soon}\n", `10:20: delivery.linger: "soon" is not a duration`},
		"linger without a unit":       {valid + "delivery: {linger: 5}\n", `10:20: delivery.linger: "5" is not a duration`},
		"negative linger":             {valid + "delivery: {linger: -1s}\n", `10:20: delivery.linger: "-1s" is not a duration; want a time with its unit, such as 500ms or 1s, or 0`},
		"duration without a unit":     {valid + "delivery: {late_window: 5}\n", "10:25: delivery.late_window: is a number to YAML"},
		"duration of nothing":         {valid + "delivery: {late_window: 0s}\n", "10:25: delivery.late_window: must be more than nothing"},
		"bad amount":                  {valid + "delivery: {max_memory: lots}\n", `10:24: delivery.max_memory: "lots" is not an amount`},
		"too little memory":           {valid + "delivery: {max_memory: 5}\n", "10:24: delivery.max_memory: is too little"},
		"too much memory":             {valid + "delivery: {max_memory: 9999999999GiB}\n", "10:24: delivery.max_memory: is too much"},
		"bad time":                    {kafka("start_from: monday"), `4:15: kafka.start_from: "monday" is not a starting point`},
		"bad level":                   {valid + "log: {level: loud}\n", `10:14: log.level: "loud" is not a level; want debug`},
		"bad format":                  {valid + "log: {format: xml}\n", `10:15: log.format: "xml" is not known; want json or text`},
		"bad listen":                  {valid + "http: {listen: here}\n", `10:16: http.listen: "here" is not host:port`},
		"bad broker":                  {target("localhost:9092", "localhost"), `2:13: kafka.brokers[0]: "localhost" is not host:port`},
		"no broker":                   {target("[localhost:9092]", "[]"), "2:12: kafka.brokers: is empty"},
		"bad topic":                   {target("changes", "a topic"), `3:10: kafka.topic: "a topic" is not a name that Kafka takes`},
		"missing topic":               {target("  topic: changes\n", ""), "2:3: kafka.topic: is missing"},
		"dead letters into the topic": {kafka("dead_letter_topic: changes"), "4:22: kafka.dead_letter_topic: is the topic itself"},
		"no targets":                  {kafkaBlock, "1:1: targets: names no target"},
		"missing kafka":               {"targets:\n" + targetA, "1:1: kafka: is missing"},
		"missing endpoint":            {target("    endpoint: https://rest.iad-01.braze.com\n", ""), "5:5: targets[0].endpoint: is missing"},
		"missing identifiers":         {target("    identifiers: [{from: user_id, to: external_id}]\n", ""), "5:5: targets[0].identifiers: is missing"},
		"no identifiers":              {target("[{from: user_id, to: external_id}]", "[]"), "9:18: targets[0].identifiers: is empty"},
		"alias without label":         {target("to: external_id", "to: user_alias"), "9:19: targets[0].identifiers[0].label: is missing"},
		"label without alias":         {target("to: external_id", "to: external_id, label: x"), "9:59: targets[0].identifiers[0].label: is for user_alias only"},
		"unknown kind":                {target("to: external_id", "to: email"), `9:39: targets[0].identifiers[0].to: "email" is not an identifier's kind`},
		"bad property":                {target("user_id", "email"), `9:26: targets[0].identifiers[0].from: "email" is not a property`},
		"empty step in a property":    {target("user_id", "user_properties..x"), `9:26: targets[0].identifiers[0].from: "user_properties..x" has an empty step`},
		"label too long":              {target("to: external_id", "to: user_alias, label: "+strings.Repeat("x", 256)), "9:19: targets[0].identifiers[0]: cannot be used: compiling identifier 1: the label is longer than 255 bytes"},
		"path too deep":               {target("user_id", "user_properties"+strings.Repeat(".x", 16)), "9:19: targets[0].identifiers[0]: cannot be used: compiling identifier 1: the path"},
		"duplicate rule":              {target("external_id}", "external_id}, {from: user_id, to: external_id}"), "9:53: targets[0].identifiers[1]: is a duplicate"},
		"dashboard host":              {endpoint("https://dashboard-01.braze.com"), "6:15: targets[0].endpoint: is a dashboard host, where people log in; use https://rest.iad-01.braze.com"},
		"dashboard host in the EU":    {endpoint("https://dashboard-02.braze.eu"), "6:15: targets[0].endpoint: is a dashboard host, where people log in; use https://rest.fra-02.braze.eu"},
		"named dashboard host":        {endpoint("https://dashboard.us-10.braze.com"), "6:15: targets[0].endpoint: is a dashboard host, where people log in; use https://rest.us-10.braze.com"},
		"SDK host":                    {endpoint("https://sdk.iad-03.braze.com"), "6:15: targets[0].endpoint: is an SDK host, which apps talk to; use https://rest.iad-03.braze.com"},
		"foreign host":                {endpoint("https://rest.iad-01.braze.com.evil.org"), "6:15: targets[0].endpoint: is not a Braze REST host"},
		"http":                        {endpoint("http://rest.iad-01.braze.com"), "6:15: targets[0].endpoint: is not https; use https://rest.iad-01.braze.com"},
		"no scheme":                   {endpoint("rest.iad-01.braze.com"), "6:15: targets[0].endpoint: has no scheme; use https://rest.iad-01.braze.com"},
		"path":                        {endpoint("https://rest.iad-01.braze.com/users/track"), "6:15: targets[0].endpoint: has a path; use https://rest.iad-01.braze.com"},
		"userinfo":                    {endpoint("https://me:pw@rest.iad-01.braze.com"), "6:15: targets[0].endpoint: holds a user or password"},
		"any endpoint, not a URL":     {strings.Replace(onA("allow_any_endpoint: true"), "https://rest", "ftp://rest", 1), "6:15: targets[0].endpoint: is neither http nor https"},
		"plain secret":                {target("${env:A}", "s3cret"), "8:14: warning: targets[0].api_key: is a plain secret"},
		"empty reference":             {target("${env:A}", "${env:}"), "8:14: targets[0].api_key: is not a reference that cohortsync knows"},
		"unknown reference":           {target("${env:A}", "${foo:x}"), "8:14: targets[0].api_key: is not a reference that cohortsync knows"},
		"text around a reference":     {target("${env:A}", "x${env:A}"), "8:14: targets[0].api_key: is not a reference that cohortsync knows"},
		"max_batch above Braze's":     {onA("max_batch: 1001"), "10:16: targets[0].max_batch: is too high; want a whole number from 1 to 1000"},
		"count of nothing":            {onA("max_in_flight: 0"), "10:20: targets[0].max_in_flight: is too low"},
		"burst of nothing":            {onA("rate_limit: {burst: -1}"), "10:25: targets[0].rate_limit.burst: is too low"},
		"request not before drain":    {onA("request_timeout: 20s"), "10:22: targets[0].request_timeout: is not shorter than kafka.drain_timeout; want less than 20s"},
		"drain not before rebalance":  {kafka("drain_timeout: 30s"), "4:18: kafka.drain_timeout: is not shorter than rebalance_timeout (30s)"},
		"drain not before session":    {kafka("drain_timeout: 27s"), "4:18: kafka.drain_timeout: is not shorter than min(session_timeout, rebalance_timeout) - heartbeat_interval; want less than 27s"},
		"heartbeat not in session":    {kafka("heartbeat_interval: 30s"), "4:23: kafka.heartbeat_interval: is not shorter than session_timeout"},
		"lease too short":             {kafka("commit_interval: 7s"), "6:5: targets[0].request_timeout: leaves a lease of 12s"},
		"missing partner key":         {target("    partner_api_key: ${env:P}\n", ""), "5:5: targets[0].partner_api_key: is missing; add partner_api_key"},
		"attribute on cohorts":        {onA("attribute: x_{cohort_id}"), "10:16: targets[0].attribute: is for the attributes API only"},
		"reorder guard on cohorts":    {onA("reorder_guard: 1s"), "10:20: targets[0].reorder_guard: is for the attributes API only"},
		"unknown API":                 {onA("api: email"), `10:10: targets[0].api: "email" is not known; want cohorts or attributes`},
		"partner key on attributes":   {attributes("partner_api_key: ${env:P}"), "10:22: targets[0].partner_api_key: is for the cohorts API only"},
		"partner on attributes":       {attributes("partner: me"), "10:14: targets[0].partner: is for the cohorts API only"},
		"device_id on attributes":     {strings.Replace(attributes(""), "to: external_id", "to: device_id", 1), "9:39: targets[0].identifiers[0].to: is an identifier that the attributes API does not take"},
		"max_batch on attributes":     {attributes("max_batch: 76"), "10:16: targets[0].max_batch: is too high for the attributes API; want a whole number from 1 to 75"},
		"unknown placeholder":         {attributes(`attribute: "x_{cohort_name}"`), `10:16: targets[0].attribute: "x_{cohort_name}" has a placeholder that is not known`},
		"one attribute for all":       {attributes("attribute: member") + "syncs: [{cohort_id: '*', target: A}]\n", "11:9: syncs[0]: would write every cohort to one attribute"},
		"one attribute for two":       {attributes("attribute: member") + "syncs: [{cohort_id: a, target: A}, {cohort_id: b, target: A}]\n", `11:36: syncs[1]: writes the attribute "member", as syncs[0] does with the same credentials`},
		"attribute of two targets":    {attributes("") + more(attributes("")) + "syncs: [{cohort_id: a, target: A}, {cohort_id: a, target: B}]\n", `17:36: syncs[1]: writes the attribute "cohort_a", as syncs[0] does`},
		"attribute of a wildcard":     {attributes("") + more(attributes("")) + "syncs: [{cohort_id: a, target: A}, {cohort_id: '*', target: B}]\n", `17:36: syncs[1]: writes the attribute "cohort_a", as target "A" does`},
		"attribute of two wildcards":  {attributes("") + more(attributes("")) + "syncs: [{cohort_id: '*', target: A}, {cohort_id: '*', target: B}]\n", `17:38: syncs[1]: writes the attribute "cohort_*", as syncs[0] does`},
		"attribute too long":          {attributes("attribute: "+strings.Repeat("é", 255)+"_{sync}") + "syncs: [{cohort_id: a, target: A}]\n", "11:9: syncs[0]: writes an attribute whose name is longer than 255 characters"},
		"attribute of Braze's own":    {attributes("attribute: '{sync}'") + "syncs: [{cohort_id: a, name: Email, target: A}]\n", "11:9: syncs[0]: writes an attribute whose name is a field of Braze's own"},
		"notify":                      {valid + "notify:\n  to: [a@b]\n", "11:3: notify: is not supported in this version"},
		"scheduled sync":              {syncs("  - {cohort_id: c, target: A, cadence: scheduled}\n"), `11:40: syncs[0].cadence: "scheduled" is not supported`},
		"one-time sync":               {syncs("  - {cohort_id: c, target: A, cadence: one_time}\n"), `11:40: syncs[0].cadence: "one_time" is not supported`},
		"every":                       {syncs("  - {cohort_id: c, target: A, every: 1h}\n"), "11:38: syncs[0].every: is not supported in this version"},
		"cron":                        {syncs("  - {cohort_id: c, target: A, cron: x}\n"), "11:37: syncs[0].cron: is not supported in this version"},
		"timezone":                    {syncs("  - {cohort_id: c, target: A, timezone: UTC}\n"), "11:41: syncs[0].timezone: is not supported in this version"},
		"unknown cadence":             {syncs("  - {cohort_id: c, target: A, cadence: now}\n"), `11:40: syncs[0].cadence: "now" is not known`},
		"unknown target":              {syncs("  - {cohort_id: c, target: Z}\n"), "11:28: syncs[0].target: is not a target of this file; want the name of a target"},
		"no Default target":           {syncs("  - {cohort_id: c}\n"), "11:5: syncs[0].target: is missing, and there is no target named Default"},
		"duplicate sync":              {syncs("  - {cohort_id: c, target: A, name: x}\n  - {cohort_id: c, target: A, name: y}\n"), `12:17: syncs[1].cohort_id: is a duplicate of syncs[0] for target "A"`},
		"duplicate wildcard":          {syncs("  - {cohort_id: \"*\", target: A, name: x}\n  - {cohort_id: \"*\", target: A, name: y}\n"), `12:17: syncs[1].cohort_id: is a duplicate`},
		"duplicate sync name":         {syncs("  - {cohort_id: c, target: A, name: x}\n  - {cohort_id: d, target: A, name: x}\n"), "12:37: syncs[1].name: is a duplicate of syncs[0]"},
		"name that is another's id":   {syncs("  - {cohort_id: c, target: A}\n  - {cohort_id: d, target: A, name: c}\n"), "12:37: syncs[1].name: is a duplicate of syncs[0]"},
		"duplicate target":            {valid + second("name: A", "name: A", "env:A", "env:B"), "10:11: targets[1].name: is a duplicate of targets[0]"},
		"equal slugs":                 {valid + second("name: A", "name: a!", "env:A", "env:B"), `10:11: targets[1].name: has the consumer group of "A", cohortsync.a`},
		"empty slug":                  {target("name: A", "name: 東京"), "5:11: targets[0].name: has no letter a-z or digit"},
		"braze and Default":           {strings.Replace(valid, "name: A", "name: Default", 1) + braze("${env:B}"), "5:11: targets[0].name: is a duplicate of braze"},
		"two rate limits":             {valid + second() + "    rate_limit: {burst: 7}\n", `15:17: targets[1].rate_limit: differs from that of "A"`},
		"two limits, two references":  {valid + second("${env:A}", "${file:/key}") + "    rate_limit: {burst: 7}\n", `15:17: targets[1].rate_limit: differs from that of "A"`},
		"one cohort twice":            {valid + second("user_id, to: external_id", "device_id, to: device_id") + "syncs: [{cohort_id: c, target: A}, {cohort_id: c, target: B}]\n", `15:36: warning: syncs[1]: sends a cohort that target "A" sends too`},
		"identifiers overlap":         {valid + second() + "syncs: [{cohort_id: c, target: A}, {cohort_id: c, target: B}]\n", `15:36: syncs[1]: sends a cohort that target "A" sends too, with the same endpoint and credentials, and both send external_id`},
		"wildcard overlaps":           {valid + second() + "syncs: [{cohort_id: c, target: B}, {cohort_id: \"*\", target: A}]\n", `15:36: syncs[1]: sends a cohort that target "B" sends too`},
		"client certificate, no key":  {kafka("tls: {enabled: true, cert_file: c.pem}"), "4:8: kafka.tls: has one of cert_file and key_file"},
		"TLS file without TLS":        {kafka("tls: {ca_file: c.pem}"), "4:18: kafka.tls.ca_file: has no effect without TLS"},
		"login without mechanism":     {kafka("sasl: {username: me}"), "4:20: kafka.sasl.username: has no effect without a mechanism"},
		"mechanism without password":  {kafka("sasl: {mechanism: scram-sha-256, username: me}"), "4:9: kafka.sasl.password: is missing"},
		"password in clear text":      {kafka("sasl: {mechanism: plain, username: me, password: '${env:P}'}"), "4:21: warning: kafka.sasl.mechanism: sends the password in clear text"},
		"unknown mechanism":           {kafka("sasl: {mechanism: gssapi}"), `4:21: kafka.sasl.mechanism: "gssapi" is not known`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, warnings, err := Parse("f", []byte(tc.file), keysSet())
			var errs Problems
			require.True(t, err == nil || errors.As(err, &errs))
			require.Equal(t, err != nil, c == nil)
			all := slices.Concat(warnings, errs)
			require.Len(t, all, 1, "%s", all)
			require.True(t, strings.HasPrefix(all[0].String(), "f:"+tc.want), "%s", all)
			require.NotContains(t, all.Error(), "s3cret")
			require.NotContains(t, all.Error(), "S3CRET")
			require.NotContains(t, all.Error(), "me:pw")
		})
	}
}

// attributes is a file whose target A is of the attributes API, with one more
// line.
func attributes(line string) string {
	target := strings.Replace(targetA, "    partner_api_key: ${env:P}\n", "", 1) + "    " + line + "\n"
	return kafkaBlock + "targets:\n" + strings.Replace(target, "endpoint:", "api: attributes\n    endpoint:", 1)
}

// more is the target of a file once more, named B.
func more(file string) string {
	return strings.Replace(strings.TrimPrefix(file, kafkaBlock+"targets:\n"), "name: A", "name: B", 1)
}

func braze(key string) string {
	return "braze:\n  endpoint: https://rest.fra-01.braze.eu\n  partner_api_key: ${env:P}\n  api_key: " + key +
		"\n  identifiers: [{from: user_id, to: external_id}]\n"
}

func TestAllProblemsOfAVeryWrongFileAreReportedAtOnce(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("testdata/wrong.yaml")
	require.NoError(t, err)
	_, warnings, err := Parse("wrong.yaml", data, keysSet())
	require.Error(t, err)
	golden(t, "testdata/wrong.golden", err.Error()+"\n\n"+warnings.Error()+"\n")
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(got), 0o600))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), got, "run with -update when the change is meant")
}

func FuzzParse(f *testing.F) {
	f.Add(valid)
	f.Add("kafka: &a {tls: *a}\n")
	f.Add("? [a]\n: !!x |\n  y\n")
	if data, err := os.ReadFile("testdata/wrong.yaml"); err == nil {
		f.Add(string(data))
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, warnings, err := Parse("f", []byte(text), keysSet())
		require.Equal(t, err == nil, c != nil)
		var errs Problems
		if err != nil {
			require.ErrorAs(t, err, &errs)
			require.NotEmpty(t, errs)
		}
		for _, p := range append(warnings, errs...) {
			require.GreaterOrEqual(t, p.Line, 1)
			require.GreaterOrEqual(t, p.Column, 1)
			require.NotEmpty(t, p.What)
		}
	})
}
