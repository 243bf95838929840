package stream

import "testing"

func TestAStageGivesBackWhatALargeRecordNeeded(t *testing.T) {
	t.Parallel()
	for room, kept := range map[int]int{keepKeys: keepKeys, keepKeys + 1: 0} {
		s := stage{keys: make([]stagedKey, 1, room), text: make([]byte, 100)}
		if s.reset(); cap(s.keys) != kept || len(s.keys) != 0 || len(s.text) != 0 {
			t.Errorf("of a room for %d keys, %d are kept", room, cap(s.keys))
		}
	}
}
