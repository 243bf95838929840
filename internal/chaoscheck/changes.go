package chaoscheck

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"
)

// change is what one record says of one identifier.
type change struct {
	partition int32
	offset    int64
	micros    int64
	written   time.Time
	in        bool
}

// newness orders changes as design.md does: by computed_time, then offset.
func newness(a, b change) int {
	return cmp.Or(cmp.Compare(a.micros, b.micros), cmp.Compare(a.offset, b.offset))
}

func (c change) String() string {
	return fmt.Sprintf("%d/%d computed %d in=%t", c.partition, c.offset, c.micros, c.in)
}

// subject is an identifier in a cohort of a target: what has an order.
type subject struct {
	target string
	cohort string
	id     Identifier
}

func (s subject) String() string {
	return fmt.Sprintf("%s, cohort %s, %s", s.target, s.cohort, strings.Join(slices.DeleteFunc([]string{s.id.Kind, s.id.Label, s.id.Value},
		func(part string) bool { return part == "" }), " "))
}

// payload is as much of a record as the checker reads.
type payload struct {
	CohortID string          `json:"cohort_id"`
	In       *bool           `json:"in_cohort"`
	Computed string          `json:"computed_time"`
	Users    []payloadPerson `json:"users"`
}

type payloadPerson struct {
	UserID     string            `json:"user_id"`
	DeviceID   string            `json:"device_id"`
	Properties map[string]string `json:"user_properties"`
}

// identifiers maps a person by a target's rules.
func (t Target) identifiers(p payloadPerson) []Identifier {
	var ids []Identifier
	for _, rule := range t.Rules {
		var value string
		switch rule.From {
		case "user_id":
			value = p.UserID
		case "device_id":
			value = p.DeviceID
		default:
			value = p.Properties[strings.TrimPrefix(rule.From, "user_properties.")]
		}
		if value == "" {
			continue
		}
		ids = append(ids, Identifier{rule.Kind, rule.Label, value})
		if t.First {
			break
		}
	}
	return ids
}

// cohortAtBraze is what a cohort is called there.
func (t Target) cohortAtBraze(cohort string) string {
	if t.Attributes {
		return "cohort_" + cohort
	}
	return cohort
}

func (t Target) syncs(cohort string) bool {
	return t.Cohorts == nil || slices.Contains(t.Cohorts, cohort)
}

// readLog sorts the log's changes by subject, in the order of the log, and
// finds the records that cannot be decoded.
func (j *judge) readLog() {
	for _, r := range j.Log {
		if len(r.Value) == 0 {
			continue
		}
		var p payload
		micros, ok := int64(0), json.Unmarshal(r.Value, &p) == nil && p.CohortID != "" && p.In != nil
		if ok {
			micros, ok = microsOf(p.Computed)
		}
		if !ok {
			j.undecodable = append(j.undecodable, r)
			continue
		}
		j.homes[p.CohortID] = r.Partition
		c := change{r.Partition, r.Offset, micros, r.Written, *p.In}
		for _, t := range j.Targets {
			if !t.syncs(p.CohortID) {
				continue
			}
			for _, person := range p.Users {
				for _, id := range t.identifiers(person) {
					s := subject{t.Name, p.CohortID, id}
					j.changes[s] = append(j.changes[s], c)
					j.counts.Changes++
				}
			}
		}
	}
	for _, all := range j.changes {
		for i := 1; i < len(all); i++ {
			if slices.ContainsFunc(all[:i], func(c change) bool { return newness(c, all[i]) > 0 }) {
				j.counts.Late++
			}
		}
	}
}

// microsOf reads epoch seconds with a fraction, exactly.
func microsOf(text string) (int64, bool) {
	seconds, ok := new(big.Rat).SetString(text)
	if !ok {
		return 0, false
	}
	micros := seconds.Mul(seconds, big.NewRat(1_000_000, 1))
	return new(big.Int).Div(micros.Num(), micros.Denom()).Int64(), true
}
