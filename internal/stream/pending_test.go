package stream

import "testing"

// A user who changes while a request fails must not wait longer for that.
func TestAChangeThatOvertakesAFailedOneHasItsAge(t *testing.T) {
	t.Parallel()
	c := cohortWithQueue("c1", 0)
	var late list
	r := c.store.add(c, []byte("\x00u1"), c.store.hash([]byte("\x00u1")))
	c.put(r, &change{time: 1}, 10, &late)
	var f flight
	c.take(1, &f)
	c.put(r, &change{time: 2}, 50, &late)
	e := c.store.at(r)
	if overtaken := e.unsend(&f.items[0]); !overtaken || e.time != 2 || e.arrived != 10 {
		t.Errorf("overtaken %v; the change of time %d waits since %d, want that of 2 since 10", overtaken, e.time, e.arrived)
	}
}

// Its linger counts from when it came, not from the answer to the one before.
func TestAChangeThatCameDuringARequestKeepsItsAge(t *testing.T) {
	t.Parallel()
	c := cohortWithQueue("c1", 0)
	var late list
	r := c.store.add(c, []byte("\x00u1"), c.store.hash([]byte("\x00u1")))
	c.put(r, &change{time: 1}, 10, &late)
	c.take(1, new(flight))
	c.put(r, &change{time: 2}, 50, &late)
	e := c.store.at(r)
	if e.land(90); !e.waiting || e.flying || e.arrived != 50 {
		t.Errorf("waiting %v, flying %v, since %d", e.waiting, e.flying, e.arrived)
	}
}

// A cohort is due by the age of the change in front.
func TestAChangeThatMayBeSentAgainGoesInFrontOnlyOfNewerOnes(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		age   int64
		front bool
	}{"older": {90, true}, "as old": {100, true}, "newer": {110, false}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := cohortWithQueue("c1", 0, 100)
			g := &generation{store: c.store}
			r := c.store.add(c, []byte("\x00u1"), c.store.hash([]byte("\x00u1")))
			e := c.store.at(r)
			e.waiting, e.arrived = true, tt.age
			g.rested(r)
			if front := c.queue.front == r; front != tt.front || c.queue.length != 2 {
				t.Errorf("in front %v of %d", front, c.queue.length)
			}
		})
	}
}

func TestTheNewestChangeIsThatOfTheLatestTimeAndThenOfTheLastOffset(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		a, b change
		want bool
	}{
		"an earlier time, a later offset":    {change{time: 1, offset: 9}, change{time: 2, offset: 3}, true},
		"a later time, an earlier offset":    {change{time: 2, offset: 3}, change{time: 1, offset: 9}, false},
		"an earlier offset of the same time": {change{time: 1, offset: 3}, change{time: 1, offset: 4}, true},
		"a later offset of the same time":    {change{time: 1, offset: 4}, change{time: 1, offset: 3}, false},
		"the same record":                    {change{time: 1, offset: 3}, change{time: 1, offset: 3}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := tt.a.before(&tt.b); got != tt.want {
				t.Errorf("before is %v, want %v", got, tt.want)
			}
		})
	}
}

// Sent after the newer one, it would undo it.
func TestAnOlderChangeIsSupersededByTheOneUnderWay(t *testing.T) {
	t.Parallel()
	c := cohortWithQueue("c1", 0)
	var late list
	r := c.store.add(c, []byte("\x00u1"), c.store.hash([]byte("\x00u1")))
	c.put(r, &change{time: 5}, 10, &late)
	c.take(1, new(flight))
	if v, _ := c.put(r, &change{time: 3}, 20, &late); v != superseded || c.store.at(r).waiting {
		t.Errorf("the verdict is %d, waiting %v", v, c.store.at(r).waiting)
	}
}

// An entry that rests is in no list.
func TestAChangeOfOneWhoRestsLeavesTheLateMemoryAsItIs(t *testing.T) {
	t.Parallel()
	c := cohortWithQueue("c1", 0)
	var late list
	r := c.store.add(c, []byte("\x00u1"), c.store.hash([]byte("\x00u1")))
	c.put(r, &change{time: 1}, 10, &late)
	c.take(1, new(flight))
	e := c.store.at(r)
	e.land(20)
	e.cooling = true
	if v, _ := c.put(r, &change{time: 2}, 30, &late); v != kept || late.length != 0 || c.queue.length != 0 {
		t.Errorf("the verdict is %d, %d are in the late memory and %d in the queue", v, late.length, c.queue.length)
	}
}
