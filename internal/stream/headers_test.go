package stream

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"
	"unicode/utf8"

	"cohortsync/internal/catalog"
)

// FuzzLetterHeaders holds a letter's headers to what readers count on: the
// record's own come first and untouched, ours are each there once, are UTF-8,
// and the identifiers read back as they were.
func FuzzLetterHeaders(f *testing.F) {
	f.Add("US Production", "high-ltv", "Max Input Length Exceeded", "u1", "crm", []byte("own"), int64(104))
	f.Add("", "", "\x00\xff\"\\", "\xf0\x9f\x98\x80 <&>", "", []byte{0xff}, int64(-1))
	f.Fuzz(func(t *testing.T, target, sync, message, value, label string, own []byte, offset int64) {
		why := failure{
			target: target, sync: sync, stage: stageDeliver, reason: reasonRefused, status: 400, message: message,
			topic: "changes", partition: 3, offset: offset, timestamp: time.UnixMilli(offset % 1e12), failedAt: time.UnixMilli(0),
			identifiers: []catalog.Identifier{{Kind: catalog.UserAlias, Label: label, Value: value}, {Kind: catalog.ExternalID, Value: value}},
		}
		valid := utf8.ValidString(target) && utf8.ValidString(sync) && utf8.ValidString(message) // As the file and the client see to.
		headers := why.headers([]Header{{Key: headerPrefix + "offset", Value: own}, {Key: "b", Value: nil}})
		if !bytes.Equal(headers[0].Value, own) || headers[1].Key != "b" {
			t.Fatalf("the record's own headers have become %v", headers[:2])
		}
		seen := map[string]string{}
		for _, h := range headers[2:] {
			if _, again := seen[h.Key]; again {
				t.Errorf("%s is there twice", h.Key)
			}
			seen[h.Key] = string(h.Value)
			if valid && !utf8.Valid(h.Value) {
				t.Errorf("%s is not UTF-8: %q", h.Key, h.Value)
			}
		}
		if len(seen) != 14 {
			t.Errorf("%d headers", len(seen))
		}
		var ids []struct{ Kind, Label, Value string }
		if err := json.Unmarshal([]byte(seen[headerPrefix+"identifiers"]), &ids); err != nil || len(ids) != 2 {
			t.Fatalf("%q reads as %v: %v", seen[headerPrefix+"identifiers"], ids, err)
		}
		if utf8.ValidString(value) && utf8.ValidString(label) && (ids[0].Value != value || ids[0].Label != label || ids[1].Value != value) {
			t.Errorf("the identifiers have become %v", ids)
		}
	})
}
