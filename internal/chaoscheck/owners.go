package chaoscheck

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// groupsTopic is where Apache Kafka keeps what its groups commit and who is in
// them, in the order in which it took them.
const groupsTopic = "__consumer_offsets"

// ownersReader reads the log of the groups.
type ownersReader struct {
	groups map[string]bool
	topic  string
	places map[Place]*Ownership
	// generations has the last one of each group.
	generations map[string]int32
}

func newOwnersReader(targets []Target, topic string) *ownersReader {
	o := &ownersReader{make(map[string]bool), topic, make(map[Place]*Ownership), make(map[string]int32)}
	for _, t := range targets {
		o.groups[t.Group] = true
		o.generations[t.Group] = -1
	}
	return o
}

func (o *ownersReader) at(p Place) *Ownership {
	if o.places[p] == nil {
		o.places[p] = &Ownership{}
	}
	return o.places[p]
}

// record reads a commit or a generation; what else there is it passes over.
func (o *ownersReader) record(r *kgo.Record) error {
	if len(r.Key) < 2 || r.Value == nil {
		return nil
	}
	switch version := binary.BigEndian.Uint16(r.Key); version {
	case 0, 1:
		return o.commit(r)
	case 2:
		return o.generation(r)
	default:
		return nil
	}
}

func (o *ownersReader) commit(r *kgo.Record) error {
	var key kmsg.OffsetCommitKey
	var value kmsg.OffsetCommitValue
	if err := key.ReadFrom(r.Key); err != nil {
		return fmt.Errorf("reading whose commit it is: %w", err)
	}
	if !o.groups[key.Group] || key.Topic != o.topic {
		return nil
	}
	if err := value.ReadFrom(r.Value); err != nil {
		return fmt.Errorf("reading a commit: %w", err)
	}
	place := o.at(Place{key.Group, key.Partition})
	place.Commits = append(place.Commits, Commit{time.UnixMilli(value.CommitTimestamp), value.Offset})
	return nil
}

// generation begins a life for every partition that a new generation gives
// out. It starts at what is committed by then: once a generation has begun,
// Kafka refuses the commits of the one before.
func (o *ownersReader) generation(r *kgo.Record) error {
	var key kmsg.GroupMetadataKey
	var value kmsg.GroupMetadataValue
	if err := key.ReadFrom(r.Key); err != nil {
		return fmt.Errorf("reading whose generation it is: %w", err)
	}
	if !o.groups[key.Group] {
		return nil
	}
	if err := value.ReadFrom(r.Value); err != nil {
		return fmt.Errorf("reading a generation: %w", err)
	}
	if len(value.Members) == 0 || value.Generation == o.generations[key.Group] {
		return nil
	}
	o.generations[key.Group] = value.Generation
	for _, m := range value.Members {
		var assigned kmsg.ConsumerMemberAssignment
		if len(m.Assignment) == 0 {
			continue
		}
		if err := assigned.ReadFrom(m.Assignment); err != nil {
			return fmt.Errorf("reading what %s owns: %w", m.MemberID, err)
		}
		for _, t := range assigned.Topics {
			if t.Topic != o.topic {
				continue
			}
			for _, p := range t.Partitions {
				o.begin(Place{key.Group, p}, Life{Generation: value.Generation, Member: m.MemberID, Began: r.Timestamp})
			}
		}
	}
	return nil
}

func (o *ownersReader) begin(p Place, l Life) {
	place := o.at(p)
	if n := len(place.Commits); n > 0 {
		l.Start = place.Commits[n-1].Offset
	}
	place.Lives = append(place.Lives, l)
}
