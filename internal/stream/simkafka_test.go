package stream

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// simKafka is a topic, its dead-letter topic and one consumer group, in memory
// and in virtual time. It keeps Kafka's rules that the heart rests on: order
// within a partition, gaps in offsets, commits fenced by generation, a session
// and a rebalance timeout.
type simKafka struct {
	mu     sync.Mutex
	rng    *rand.Rand
	timing Timing
	faults simKafkaFaults

	partitions []simPartition
	// dense leaves no gaps between the records.
	dense    bool
	appended chan struct{}
	letters  []Letter

	members    map[*simMember]bool
	generation int
	// preparing is when the present rebalance began, zero for none.
	preparing time.Time
	formed    chan struct{}
	commits   map[int]int64
	// onCommit sees each accepted commit while the mutex is held.
	onCommit func(offsets map[int]int64)
}

// simKafkaFaults are probabilities of a fault for each call.
type simKafkaFaults struct {
	fetch, commitLost, commitUnanswered float64
	lettersDown                         bool
}

type simPartition struct {
	records []Record
	// The log holds the offsets in [first, next).
	first, next int64
}

var errSim = errors.New("simulated fault")

func newSimKafka(partitions int, timing Timing, seed uint64) *simKafka {
	return &simKafka{
		rng: rand.New(rand.NewPCG(seed, 1)), timing: timing,
		partitions: make([]simPartition, partitions),
		appended:   make(chan struct{}), formed: make(chan struct{}),
		members: make(map[*simMember]bool), commits: make(map[int]int64),
	}
}

func (k *simKafka) chance(p float64) bool { return p > 0 && k.rng.Float64() < p }

// produce appends a record behind a random gap and now and then a control
// marker, as compaction and transactions leave them.
func (k *simKafka) produce(partition int, value []byte) int64 {
	return k.append(partition, Record{Time: time.Now(), Key: []byte("key"), Value: value})
}

// append appends a record as it is, at the next offset.
func (k *simKafka) append(partition int, r Record) int64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	p := &k.partitions[partition]
	if !k.dense && k.chance(.1) {
		p.next += 1 + k.rng.Int64N(3)
	}
	offset := p.next
	r.Offset = offset
	p.records = append(p.records, r)
	p.next++
	if !k.dense && k.chance(.1) {
		p.records = append(p.records, Record{Offset: p.next, Time: time.Now(), Control: true, Value: []byte{0, 0, 0, 0}})
		p.next++
	}
	close(k.appended)
	k.appended = make(chan struct{})
	return offset
}

// retain takes all records before an offset, as retention does.
func (k *simKafka) retain(partition int, first int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	p := &k.partitions[partition]
	p.first = first
	p.records = slices.DeleteFunc(p.records, func(r Record) bool { return r.Offset < first })
}

// remake empties a partition, as a topic does that is deleted and made anew.
func (k *simKafka) remake(partition int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.partitions[partition] = simPartition{}
}

func (k *simKafka) setFaults(f simKafkaFaults) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.faults = f
}

func (k *simKafka) drained() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := range k.partitions {
		if n := k.partitions[i].next; n > 0 && k.commits[i] < n {
			return false
		}
	}
	return true
}

// written returns the dead letters so far.
func (k *simKafka) written() []Letter {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.letters)
}

// committed returns the group's offsets; a partition without one is missing.
func (k *simKafka) committed() map[int]int64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return maps.Clone(k.commits)
}

// generations returns how many the group has had.
func (k *simKafka) generations() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.generation
}

// simLog is a worker's view of the topic.
type simLog struct {
	k *simKafka
	w *simWorker
}

func (l simLog) Bounds(ctx context.Context, partitions []int) (map[int]Bounds, error) {
	if err := l.w.gate(ctx); err != nil {
		return nil, err
	}
	l.k.mu.Lock()
	defer l.k.mu.Unlock()
	if l.k.chance(l.k.faults.fetch) {
		return nil, errSim
	}
	bounds := make(map[int]Bounds)
	for _, p := range partitions {
		bounds[p] = Bounds{First: l.k.partitions[p].first, Next: l.k.partitions[p].next}
	}
	return bounds, nil
}

func (l simLog) OffsetsAt(context.Context, []int, time.Time) (map[int]int64, error) {
	return nil, errors.New("the simulation does not ask for offsets by time")
}

func (l simLog) Open(partition int) Cursor { return &simCursor{l, partition} }

func (l simLog) ReadAt(ctx context.Context, partition int, offset int64) (Record, error) {
	if err := l.w.gate(ctx); err != nil {
		return Record{}, err
	}
	l.k.mu.Lock()
	defer l.k.mu.Unlock()
	if l.k.chance(l.k.faults.fetch) {
		return Record{}, errSim
	}
	for _, r := range l.k.partitions[partition].records {
		if r.Offset == offset {
			return r, nil
		}
	}
	return Record{}, ErrRecordGone
}

type simCursor struct {
	simLog
	partition int
}

func (c *simCursor) Close() error { return nil }

// Fetch takes some virtual time, as a real one does, and brings a random
// number of records.
func (c *simCursor) Fetch(ctx context.Context, offset int64, _ int) (Fetched, error) {
	if err := c.w.gate(ctx); err != nil {
		return Fetched{}, err
	}
	deadline := time.After(time.Second)
	for {
		c.k.mu.Lock()
		appended := c.k.appended
		fetched, err := c.k.fetch(c.partition, offset)
		c.k.mu.Unlock()
		if err != nil || len(fetched.Records) > 0 || fetched.Next > offset {
			pause(ctx, time.Millisecond)
			return fetched, err
		}
		select {
		case <-ctx.Done():
			return Fetched{}, ctx.Err()
		case <-deadline:
			return fetched, c.w.gate(ctx)
		case <-appended:
		}
	}
}

func (k *simKafka) fetch(partition int, offset int64) (Fetched, error) {
	if k.chance(k.faults.fetch) {
		return Fetched{}, errSim
	}
	p := &k.partitions[partition]
	if offset < p.first || offset > p.next {
		return Fetched{}, fmt.Errorf("%w: %d is not in [%d, %d]", ErrOffsetOutOfRange, offset, p.first, p.next)
	}
	f := Fetched{Next: offset, HighWatermark: p.next}
	at, _ := slices.BinarySearchFunc(p.records, offset, func(r Record, o int64) int { return int(r.Offset - o) })
	end := min(len(p.records), at+1+k.rng.IntN(8))
	f.Records = slices.Clone(p.records[min(at, end):end])
	if end == len(p.records) {
		f.Next = p.next
	} else {
		f.Next = p.records[end-1].Offset + 1
	}
	return f, nil
}

// simLetters is a worker's view of the dead-letter topic.
type simLetters struct{ simLog }

func (l simLetters) Write(ctx context.Context, letter Letter) error {
	if err := l.w.gate(ctx); err != nil {
		return err
	}
	l.k.mu.Lock()
	defer l.k.mu.Unlock()
	if l.k.faults.lettersDown {
		return errSim
	}
	l.k.letters = append(l.k.letters, letter)
	return nil
}

// simMember is one worker's membership.
type simMember struct {
	simLog
	seen    time.Time
	waiting bool
	// generation is the one that the member was last given.
	generation int
	owned      []int
}

func (m *simMember) Run(ctx context.Context, serve func(context.Context, Generation)) error {
	k := m.k
	fresh := !k.hasCommits()
	for ctx.Err() == nil {
		gen, ok := m.join(ctx)
		if !ok {
			break
		}
		gen.fresh = fresh
		generationCtx, end := context.WithCancel(ctx)
		beating := make(chan struct{})
		go func() {
			defer close(beating)
			m.heartbeat(generationCtx, gen.number)
			end()
		}()
		serve(generationCtx, gen)
		fresh = fresh && !gen.committed
		end()
		<-beating
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if !m.w.dead.Load() {
		k.evict(m)
	}
	return nil
}

func (k *simKafka) hasCommits() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.commits) > 0
}

// join asks for membership and waits for the next generation.
func (m *simMember) join(ctx context.Context) (*simGeneration, bool) {
	k := m.k
	if m.w.gate(ctx) != nil {
		return nil, false
	}
	k.mu.Lock()
	k.members[m] = true
	m.seen, m.waiting = time.Now(), true
	k.prepare()
	k.form()
	for m.waiting && !m.w.dead.Load() {
		formed := k.formed
		k.mu.Unlock()
		select {
		case <-ctx.Done():
			k.mu.Lock()
			m.waiting = false
			k.mu.Unlock()
			return nil, false
		case <-formed:
		case <-time.After(time.Second):
		}
		k.mu.Lock()
		if m.waiting && !m.w.frozen() {
			m.seen = time.Now()
			k.members[m] = true
		}
		k.form()
	}
	defer k.mu.Unlock()
	if m.waiting {
		return nil, false
	}
	gen := &simGeneration{m: m, number: m.generation, total: len(k.partitions)}
	for _, p := range m.owned {
		a := Assignment{Partition: p, Committed: -1}
		if c, ok := k.commits[p]; ok {
			a.Committed = c
		}
		gen.owned = append(gen.owned, a)
	}
	return gen, true
}

// prepare begins a rebalance.
func (k *simKafka) prepare() {
	if k.preparing.IsZero() {
		k.preparing = time.Now()
	}
}

// form completes a rebalance once all members have joined again, or without
// those who have not when the rebalance timeout has passed.
func (k *simKafka) form() {
	for m := range k.members {
		if !m.waiting && time.Since(m.seen) > k.timing.SessionTimeout {
			k.evict(m)
		}
	}
	if k.preparing.IsZero() {
		return
	}
	late := time.Since(k.preparing) >= k.timing.RebalanceTimeout
	var joined []*simMember
	for m := range k.members {
		switch {
		case m.waiting:
			joined = append(joined, m)
		case late:
			delete(k.members, m)
		default:
			return
		}
	}
	if len(joined) == 0 {
		return
	}
	slices.SortFunc(joined, func(a, b *simMember) int { return a.w.number - b.w.number })
	k.generation++
	k.preparing = time.Time{}
	turn := k.rng.IntN(len(joined))
	for _, m := range joined {
		m.waiting, m.generation, m.owned, m.seen = false, k.generation, nil, time.Now()
	}
	for p := range k.partitions {
		m := joined[(p+turn)%len(joined)]
		m.owned = append(m.owned, p)
	}
	close(k.formed)
	k.formed = make(chan struct{})
}

func (k *simKafka) evict(m *simMember) {
	if k.members[m] {
		delete(k.members, m)
		k.prepare()
		k.form()
	}
}

// heartbeat returns when the member has learnt that its generation is over.
func (m *simMember) heartbeat(ctx context.Context, generation int) {
	for {
		pause(ctx, m.k.timing.HeartbeatInterval)
		if m.w.late > 0 && m.w.frozen() {
			_ = m.w.gate(ctx)
			pause(ctx, m.w.late)
		}
		if m.w.gate(ctx) != nil {
			// A dead process learns nothing; its goroutines end with ctx.
			<-ctx.Done()
			return
		}
		if ctx.Err() != nil {
			return
		}
		m.k.mu.Lock()
		ok := m.k.current(m, generation) && m.k.preparing.IsZero()
		if m.k.current(m, generation) {
			m.seen = time.Now()
		}
		m.k.form()
		m.k.mu.Unlock()
		if !ok {
			return
		}
	}
}

func (k *simKafka) current(m *simMember, generation int) bool {
	if k.members[m] && !m.waiting && time.Since(m.seen) > k.timing.SessionTimeout {
		k.evict(m)
	}
	return k.members[m] && k.generation == generation && m.generation == generation
}

// simGeneration implements Generation.
type simGeneration struct {
	m         *simMember
	number    int
	owned     []Assignment
	total     int
	fresh     bool
	committed bool
}

func (g *simGeneration) Assigned() ([]Assignment, int) { return g.owned, g.total }

func (g *simGeneration) Fresh() bool { return g.fresh }

func (g *simGeneration) Commit(ctx context.Context, offsets map[int]int64) error {
	k := g.m.k
	if err := g.m.w.gate(ctx); err != nil {
		return err
	}
	pause(ctx, time.Millisecond)
	k.mu.Lock()
	defer k.mu.Unlock()
	if g.m.w.dead.Load() || k.chance(k.faults.commitLost) {
		return errSim
	}
	if !k.current(g.m, g.number) {
		return fmt.Errorf("%w: generation %d is over", errSim, g.number)
	}
	g.m.seen = time.Now()
	maps.Copy(k.commits, offsets)
	g.committed = true
	if k.onCommit != nil {
		k.onCommit(offsets)
	}
	if k.chance(k.faults.commitUnanswered) {
		return errSim
	}
	return nil
}
