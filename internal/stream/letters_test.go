package stream

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares with a file in testdata. go test -update writes it anew.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("differs from %s:\n%s\nwant:\n%s", path, got, want)
	}
}

func letterText(letters []Letter) string {
	var b strings.Builder
	for _, l := range letters {
		fmt.Fprintf(&b, "partition %d key %q\n", l.Partition, l.Key)
		for _, h := range l.Headers {
			fmt.Fprintf(&b, "  %s: %s\n", h.Key, h.Value)
		}
		fmt.Fprintf(&b, "  value: %s\n", l.Value)
	}
	return b.String()
}

func TestDeadLettersAreThePayloadCutToThoseAtFault(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.braze.script(blaming("bad1", "bad2"))
		stop := r.run()
		defer stop()
		at := time.Date(1999, 12, 31, 0, 0, 0, 0, time.UTC)
		r.kafka.partitions[1].next = 40
		r.kafka.partitions[1].records = append(r.kafka.partitions[1].records, Record{
			Offset: 40, Time: at, Key: []byte("c1"), Headers: []Header{{Key: "traceparent", Value: []byte("00-abc")}},
			Value: []byte(`{"cohort_id":"c1","in_cohort":true,"computed_time":"946598400","extra":[1, 2],"users":[{"user_id":"ok1"},{"user_id":"bad1","x":1},{"user_id":"ok2"},{"user_id":"bad2"}]}`),
		}, Record{Offset: 41, Time: at, Value: []byte("not json"), Key: []byte("k")})
		r.kafka.partitions[1].next = 42
		r.settled()
		golden(t, "letters.golden", letterText(r.kafka.written()))
		if f := r.funnel(); f.deadLettered != 2 || f.delivered != 2 {
			t.Errorf("the funnel is %+v", f)
		}
	})
}

// A batch holds changes of many records, in any order.
func TestThoseAtFaultAreGroupedByRecordInTheOrderOfTheLog(t *testing.T) {
	t.Parallel()
	f := &flight{}
	var faults []int
	for i, offset := range []int64{7, 3, 1 << 40, 7, 5, 3} {
		f.items = append(f.items, flown{change: change{offset: offset}})
		if offset != 5 {
			faults = append(faults, i)
		}
	}
	got := bySource(f, faults)
	if want := "[[1 5] [0 3] [2]]"; fmt.Sprint(got) != want {
		t.Errorf("grouped as %v, want %s", got, want)
	}
}

func TestAFeedWaitsWhileALetterCannotBeWritten(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.braze.script(blaming("bad"))
		r.kafka.setFaults(simKafkaFaults{lettersDown: true})
		stop := r.run()
		defer stop()
		offset := r.produce(0, "c1", true, time.Now(), "bad")
		time.Sleep(time.Minute)
		r.produce(0, "c2", true, time.Now(), "u1")
		r.produce(1, "c2", true, time.Now(), "u2")
		time.Sleep(10 * time.Minute)
		if committed := r.kafka.committed()[0]; committed > offset {
			t.Errorf("committed %d past the dead letter at %d", committed, offset)
		}
		if f := r.funnel(); f.delivered != 1 {
			t.Errorf("the other partition should go on and this one wait: %+v", f)
		}
		if !strings.Contains(r.logs.String(), "a dead letter cannot be written") {
			t.Error("nobody was told")
		}
		r.kafka.setFaults(simKafkaFaults{})
		r.settled()
		if f := r.funnel(); f.deadLettered != 1 || f.delivered != 2 {
			t.Errorf("the funnel is %+v", f)
		}
	})
}

func TestALetterThatIsTooLargeIsSplitByUsers(t *testing.T) {
	tests := map[string]struct {
		limit int
		want  string
	}{
		"it fits":                      {1000, "bad1+bad2+bad3"},
		"two halves fit":               {90, "bad1, bad2+bad3"},
		"each user fits":               {70, "bad1, bad2, bad3"},
		"not even one fits: no values": {10, "-, -, -"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				r := newRig(t, nil)
				r.options.Letters = nil
				r.target.Letters = limitedLetters{r.target.Letters, tt.limit}
				r.braze.script(blaming("bad1", "bad2", "bad3"))
				stop := r.run()
				defer stop()
				r.kafka.produce(0, []byte(`{"cohort_id":"c1","in_cohort":true,"users":[{"user_id":"bad1"},{"user_id":"bad2"},{"user_id":"bad3"}]}`))
				r.settled()
				var got []string
				for _, l := range r.kafka.written() {
					var who []string
					for _, u := range []string{"bad1", "bad2", "bad3"} {
						if strings.Contains(string(l.Value), u) {
							who = append(who, u)
							if !strings.Contains(headersOf(l), u) {
								t.Errorf("the headers do not name %s: %s", u, headersOf(l))
							}
						}
					}
					if l.Value == nil {
						who = []string{"-"}
					}
					got = append(got, strings.Join(who, "+"))
				}
				if text := strings.Join(got, ", "); text != tt.want {
					t.Errorf("the letters are %s, want %s", text, tt.want)
				}
			})
		})
	}
}

// What is refused for its headers cannot be mended by leaving out the value:
// the record is gone, and its identifiers are many.
func TestALetterWithoutAValueIsSplitByIdentifiers(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.target.Source = goneSource{}
		bad := []string{"bad1", "bad2", "bad3", "bad4"}
		r.target.Letters = smallHeaders{r.target.Letters, 110}
		r.braze.script(blaming(bad...))
		stop := r.run()
		defer stop()
		r.produce(0, "c1", true, time.Now(), bad...)
		r.settled()
		var told []string
		for _, l := range r.kafka.written() {
			told = append(told, header(l, "identifiers"))
			if l.Value != nil {
				t.Errorf("a value from nowhere: %s", l.Value)
			}
		}
		// The first batch is of three, and three are too many.
		want := []string{
			`[{"kind":"external_id","value":"bad1"}]`,
			`[{"kind":"external_id","value":"bad2"},{"kind":"external_id","value":"bad3"}]`,
			`[{"kind":"external_id","value":"bad4"}]`,
		}
		if !slices.Equal(told, want) {
			t.Errorf("the letters tell of %v, want %v", told, want)
		}
	})
}

// A record may itself be as large as the broker allows, by its own headers.
func TestALetterThatOnlyItsOwnHeadersMakeTooLargeGoesWithoutThem(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.target.Letters = smallHeaders{r.target.Letters, 1000}
		stop := r.run()
		defer stop()
		r.kafka.partitions[0].records = append(r.kafka.partitions[0].records, Record{
			Time: time.Now(), Value: []byte("not json"), Headers: []Header{{Key: "huge", Value: make([]byte, 2000)}},
		})
		r.kafka.partitions[0].next = 1
		r.settled()
		if n := len(r.kafka.written()); n != 1 {
			t.Fatalf("%d letters", n)
		}
		if l := r.kafka.written()[0]; header(l, "reason") != "not_json" || header(l, "offset") != "0" || len(l.Headers) != 14 {
			t.Errorf("the letter is %s", headersOf(l))
		}
	})
}

// smallHeaders refuses a letter with a header that is larger.
type smallHeaders struct {
	Letters
	limit int
}

func (l smallHeaders) Write(ctx context.Context, letter Letter) error {
	for _, h := range letter.Headers {
		if len(h.Value) > l.limit {
			return fmt.Errorf("%d bytes in header %s: %w", len(h.Value), h.Key, ErrLetterTooLarge)
		}
	}
	return l.Letters.Write(ctx, letter)
}

// goneSource is a log whose records retention has taken.
type goneSource struct{}

func (goneSource) ReadAt(context.Context, int, int64) (Record, error) {
	return Record{}, ErrRecordGone
}

func header(l Letter, name string) string {
	for _, h := range l.Headers {
		if h.Key == headerPrefix+name {
			return string(h.Value)
		}
	}
	return "(none)"
}

type limitedLetters struct {
	Letters
	limit int
}

func (l limitedLetters) Write(ctx context.Context, letter Letter) error {
	if len(letter.Value) > l.limit {
		return fmt.Errorf("%d bytes: %w", len(letter.Value), ErrLetterTooLarge)
	}
	return l.Letters.Write(ctx, letter)
}

func headersOf(l Letter) string {
	var b strings.Builder
	for _, h := range l.Headers {
		fmt.Fprintf(&b, "%s=%s ", h.Key, h.Value)
	}
	return b.String()
}
