package brazetest

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// bodies are requests as clients write them, and some that only look so.
func bodies() (scanned, decoded []string) {
	scanned = []string{
		naming,
		members(`"a","b"`),
		members(`"é","` + "\x7f" + `"`),
		keys + `"cohort_changes":[]}`,
		keys + `"cohort_changes":[{"user_ids":["a"],"device_ids":["d"],"aliases":[{"alias_name":"n","alias_label":"l"}]},{"user_ids":["b"],"should_remove":true}]}`,
		strings.NewReplacer(":", " : ", ",", "\n,\t", "[", "[ ", "]", " ]", "{", "{ ").Replace(keys + `"cohort_changes":[{"user_ids":["a","b"],"should_remove":false}]}`),
		`{"partner_api_key":"p"}`, `{}`,
		attributes(), attributes(object("u", `"a":true`), object("v", `"a":false`), object("", `"b":null`)),
		attributes(`{"user_alias":{"alias_name":"n","alias_label":"l"},"_update_existing_only":false,"a":true}`, `{"external_id":"u","a":true}`, `{"external_id":"u"}`),
		attributes(object(strings.Repeat("x", 988), `"a":true`), object("u", `"`+strings.Repeat("é", 256)+`":true`)),
	}
	decoded = []string{
		members(`"\u0061"`), members(`1`), members(`"a"`) + "x", members(`"` + "\xff" + `"`), members("\"\t\""),
		strings.Replace(members(`"a"`), "cohort_id", "Cohort_ID", 1),
		strings.Replace(members(`"a"`), "cohort_id", " cohort_id", 1),
		keys + `"cohort_changes":null}`, keys + `"cohort_changes":[null]}`, keys + `"cohort_changes":[{"user_ids":["a"],"user_ids":["b"]}]}`,
		keys + `"cohort_changes":[{"should_remove":true,"user_ids":["a"]}]}`, keys + `"cohort_changes":[{"user_ids":["a",]}]}`,
		`{"cohort_id":"c","partner_api_key":"p"}`, `{"cohort_id":"c","cohort_id":"d"}`, `{"cohort_id":"c","unknown":{"a":[1]}}`, `[]`, ``,
		attributes(object("u", `"a":true,"b":false`)), attributes(object("u", `"a":1`)), attributes(object("u", `"external_id":true`)),
		attributes(object("u", `"device_id":"d"`)), attributes(object("u", `"":true`)), attributes(object("u", `"_update_existing_only":true`)),
		attributes(`{"a":true,"external_id":"u","_update_existing_only":true}`), attributes(`{"external_id":"u","user_alias":{}}`), attributes(`{}`, `null`),
		attributes(`{"user_alias":{"alias_label":"l","alias_name":"n"},"a":true}`), attributes(object("u", `"a":truex`)),
		`{"attributes":[],"events":[{}]}`, `{"attributes":null}`, `{"events":[]}`,
	}
	return scanned, decoded
}

// compareReadings reads a body both ways and says whether the scanner read it.
// Whatever it reads it must read as encoding/json does.
func compareReadings(t *testing.T, body string) (scanned bool) {
	t.Helper()
	for _, api := range []struct {
		scan   func(*exchange, *scanner) bool
		decode func(*exchange) *reply
	}{{(*exchange).scanCohorts, (*exchange).decodeCohorts}, {(*exchange).scanTrack, (*exchange).decodeTrack}} {
		fast := &exchange{Request: &Request{}, body: []byte(body)}
		slow := &exchange{Request: &Request{}, body: []byte(body)}
		s, valid := newScanner(fast.body)
		if !valid || !api.scan(fast, s) {
			require.Equal(t, &exchange{Request: &Request{}, body: []byte(body)}, fast, "it gives up without a trace")
			continue
		}
		require.True(t, json.Valid([]byte(body)), body)
		require.Nil(t, api.decode(slow), body)
		require.Len(t, fast.Ops, len(slow.Ops), body)
		for i := range slow.Ops {
			require.Equal(t, slow.Ops[i], fast.Ops[i], body)
		}
		require.Len(t, fast.track.items, len(slow.track.items), body)
		for i := range slow.track.items {
			require.Equal(t, slow.track.items[i], fast.track.items[i], body)
		}
		require.Equal(t, slow.track.objects, fast.track.objects, body)
		require.Equal(t, slow.cohorts, fast.cohorts, body)
		require.Equal(t, [2]string{slow.Cohort, slow.Name}, [2]string{fast.Cohort, fast.Name}, body)
		scanned = true
	}
	return scanned
}

func TestTheScannerReadsWhatClientsWriteAsTheDecoderDoes(t *testing.T) {
	t.Parallel()
	scanned, decoded := bodies()
	for _, body := range scanned {
		require.True(t, compareReadings(t, body), "the scanner gave up on %s", body)
	}
	for _, body := range decoded {
		require.False(t, compareReadings(t, body), "the scanner read %s", body)
	}
}

func FuzzTheScannerAgainstTheDecoder(f *testing.F) {
	scanned, decoded := bodies()
	for _, body := range append(scanned, decoded...) {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) { compareReadings(t, body) })
}
