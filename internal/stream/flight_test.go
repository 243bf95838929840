package stream

import (
	"testing"

	"cohortsync/internal/braze"
)

func TestFlightsAreUsedAgainWithNothingOfTheLastOneInThem(t *testing.T) {
	t.Parallel()
	var h hangar
	f := h.take()
	f.cohort, f.probe, f.naming, f.text = &cohort{}, true, &braze.Naming{}, "u1"
	f.items = append(f.items, flown{entry: 1})
	f.batch = append(f.batch, braze.Item{Remove: true})
	f.scratch = append(f.scratch, "u1"...)
	h.back(f)
	again := h.take()
	if again != f || cap(again.items) == 0 || cap(again.batch) == 0 || cap(again.scratch) == 0 {
		t.Error("its room is not used again")
	}
	if again.cohort != nil || again.probe || again.naming != nil || again.text != "" || len(again.items)+len(again.batch)+len(again.scratch) > 0 {
		t.Errorf("it is %+v", again)
	}
	if again.batch[:1][0] != (braze.Item{}) {
		t.Error("its room still points into the last one's text")
	}
}

func TestOnlySomeFlightsWaitToBeUsedAgain(t *testing.T) {
	t.Parallel()
	var h hangar
	for range 10 * spareFlights {
		h.back(new(flight))
	}
	if len(h.spare) != spareFlights {
		t.Errorf("%d wait", len(h.spare))
	}
	h.take()
	if h.back(&flight{scratch: make([]byte, spareScratch+1)}); len(h.spare) != spareFlights-1 {
		t.Error("one with much room waits")
	}
}
