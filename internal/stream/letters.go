package stream

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"time"

	"cohortsync/internal/braze"
	"cohortsync/internal/catalog"
	"cohortsync/internal/event"
	"cohortsync/internal/mapping"
)

// The stages in which a change can fail, for a letter's header.
const (
	stageDecode  = "decode"
	stageDeliver = "deliver"
)

// reasonRefused is the reason of a letter whose identifiers Braze refuses.
const reasonRefused = "refused_by_braze"

// headerPrefix begins each header that is ours. Kafka Connect writes its own
// in the same way, as UTF-8 strings (KIP-298).
const headerPrefix = "__cohortsync.errors."

// headersVersion is the version of the set of headers.
const headersVersion = "1"

// failure is what a letter's headers say.
type failure struct {
	target, sync  string
	stage, reason string
	status        int
	message       string
	topic         string
	partition     int
	offset        int64
	timestamp     time.Time
	identifiers   []catalog.Identifier
	failedAt      time.Time
}

// headers returns the record's own headers followed by ours.
func (f *failure) headers(own []Header) []Header {
	headers := slices.Clone(own)
	add := func(name, value string) {
		headers = append(headers, Header{Key: headerPrefix + name, Value: []byte(value)})
	}
	add("version", headersVersion)
	add("target", f.target)
	add("sync", f.sync)
	add("stage", f.stage)
	add("reason", f.reason)
	add("status", strconv.Itoa(f.status))
	add("message", f.message)
	add("topic", f.topic)
	add("partition", strconv.Itoa(f.partition))
	add("offset", strconv.FormatInt(f.offset, 10))
	add("timestamp", strconv.FormatInt(f.timestamp.UnixMilli(), 10))
	add("identifiers", identifiersJSON(f.identifiers))
	add("attempt", "1")
	add("first_failed_at", f.failedAt.UTC().Format(time.RFC3339Nano))
	return headers
}

// identifiersJSON writes identifiers as the redrive reads them.
func identifiersJSON(ids []catalog.Identifier) string {
	type identifier struct {
		Kind  string `json:"kind"`
		Label string `json:"label,omitempty"`
		Value string `json:"value"`
	}
	list := make([]identifier, len(ids))
	for i, id := range ids {
		list[i] = identifier{Kind: id.Kind.String(), Label: id.Label, Value: id.Value}
	}
	text, err := json.Marshal(list)
	if err != nil {
		panic(err) // Three strings always encode.
	}
	return string(text)
}

// buryRecord writes a record that cannot be decoded to the dead-letter topic,
// whole, and settles it. The feed waits for that; it returns false when the
// generation ended first.
func (g *generation) buryRecord(ctx, sending context.Context, f *feed, r *Record, cause error) bool {
	t := g.t
	t.mu.Lock()
	m := f.tracker.track(r.Offset, r.Time.UnixMilli())
	g.memory.used += markCost
	allowed := t.spent.spend(1, t.Now())
	t.mu.Unlock()
	if !allowed {
		// The record stays unsettled, and reading stops until the generation
		// ends.
		t.halt()
		f.ready(ctx)
		return false
	}
	why := failure{
		target: t.Options.Target.Name, stage: stageDecode, reason: decodeReason(cause).String(), message: cause.Error(),
		topic: t.Topic, partition: f.partition, offset: r.Offset, timestamp: r.Time, failedAt: t.Now(),
	}
	if !g.post(ctx, sending, f, wholeParcel(r, why)) {
		return false
	}
	t.metrics.letters[stageDecode].Inc()
	t.mu.Lock()
	defer t.mu.Unlock()
	f.settle(m)
	return true
}

// decodeReason returns why a record cannot be decoded: the decoder's errors
// always say.
func decodeReason(err error) event.Reason {
	if decoding, ok := errors.AsType[*event.DecodeError](err); ok {
		return decoding.Reason
	}
	panic("a decoder's error without a reason: " + err.Error())
}

// buryFaults writes the items at fault to the dead-letter topic and settles
// them, one letter for each source record. Items whose letter was not written
// are put back; it then returns false.
func (g *generation) buryFaults(ctx, sending context.Context, f *flight, faults []int, report *braze.Report) bool {
	t := g.t
	now := t.Now()
	t.mu.Lock()
	// Once that has locked the target, only a request without anybody at fault
	// unlocks it: a minute gone by shows nothing.
	allowed := (t.lock == nil || t.lock.reason != lockDeadLetters) && t.spent.spend(len(faults), now)
	var tell func()
	if !allowed {
		tell = t.refuse(f.cohort, false, lockDeadLetters, t.clock(now), errTooManyLetters)
		for _, i := range faults {
			g.putBack(f, &f.items[i], t.clock(now))
		}
	}
	t.mu.Unlock()
	if tell != nil {
		tell()
	}
	if !allowed {
		return false
	}
	all := true
	for _, group := range bySource(f, faults) {
		written := g.buryGroup(ctx, sending, f, group, report)
		t.mu.Lock()
		for _, i := range group {
			if written {
				t.funnel.deadLettered++
				g.settleItem(f, &f.items[i], t.clock(now))
			} else {
				g.putBack(f, &f.items[i], t.clock(now))
			}
		}
		t.mu.Unlock()
		all = all && written
	}
	return all
}

var errTooManyLetters = errors.New("more changes are refused than max_dead_letters_per_minute allows")

// bySource groups items by the record they came from, in the order of the log.
func bySource(f *flight, faults []int) [][]int {
	slices.SortFunc(faults, func(a, b int) int {
		if f.items[a].offset != f.items[b].offset {
			return int(min(1, max(-1, f.items[a].offset-f.items[b].offset)))
		}
		return a - b
	})
	var groups [][]int
	for n, i := range faults {
		if n == 0 || f.items[i].offset != f.items[faults[n-1]].offset {
			groups = append(groups, nil)
		}
		last := len(groups) - 1
		groups[last] = append(groups[last], i)
	}
	return groups
}

// buryGroup writes the letter of one source record. The payload is not in
// memory any more: the pending set keeps identifiers only, and the log has the
// rest.
func (g *generation) buryGroup(ctx, sending context.Context, f *flight, group []int, report *braze.Report) bool {
	feed, first := f.cohort.feed, f.items[group[0]]
	r, ok := g.reread(ctx, sending, feed, first.offset)
	if !ok {
		return false
	}
	if r.Time.IsZero() {
		r.Time = time.UnixMilli(first.stamp)
	}
	if r.Key == nil {
		r.Key = []byte(f.cohort.id)
	}
	fault := report.Faults[group[0]]
	why := failure{
		target: g.t.Options.Target.Name, sync: f.cohort.sync.Name, stage: stageDeliver, reason: reasonRefused,
		status: fault.Status, message: fault.Message, topic: g.t.Topic, partition: feed.partition,
		offset: first.offset, timestamp: r.Time, failedAt: g.t.Now(),
	}
	wanted := make(map[string]catalog.Identifier, len(group))
	for _, i := range group {
		key := f.key(i)
		wanted[key] = feed.mapper.Identifier(key)
		why.identifiers = append(why.identifiers, wanted[key])
	}
	p := usersParcel(&r, why, g.t.culprits(&r, wanted))
	if !g.post(ctx, sending, feed, p) {
		return false
	}
	g.t.metrics.letters[stageDeliver].Inc()
	return true
}

// culprit is a user of a record with identifiers at fault.
type culprit struct {
	user        int
	identifiers []catalog.Identifier
}

// culprits finds the users of a record who have a wanted identifier, by
// decoding and mapping it as the feed did.
func (t *Target) culprits(r *Record, wanted map[string]catalog.Identifier) []culprit {
	if len(r.Value) == 0 {
		return nil
	}
	mapper := t.mapper()
	ev, err := event.NewDecoder(mapper.Paths()).Decode(r.Value, r.Time)
	if err != nil {
		return nil
	}
	var found []culprit
	var keys []mapping.Key
	for i := range ev.Users {
		c := culprit{user: i}
		keys = mapper.Map(&ev.Users[i], keys[:0])
		for k := range keys {
			if id, ok := wanted[string(keys[k].Bytes)]; ok && keys[k].Skip == mapping.SkipNone {
				c.identifiers = append(c.identifiers, id)
			}
		}
		if len(c.identifiers) > 0 {
			found = append(found, c)
		}
	}
	return found
}
