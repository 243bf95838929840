package stream

import (
	"testing"
	"time"
)

func TestAKafkaTimestampThatCannotBeRightIsTakenAsOfNow(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	year2000 := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	tests := map[string]struct{ stamp, want time.Time }{
		"none":                       {time.UnixMilli(-1), now},
		"seconds for milliseconds":   {time.UnixMilli(now.Unix()), now},
		"before the year 2000":       {year2000.Add(-time.Millisecond), now},
		"the beginning of that year": {year2000, year2000},
		"lately":                     {now.Add(-time.Hour), now.Add(-time.Hour)},
		"a day ahead":                {now.Add(24 * time.Hour), now.Add(24 * time.Hour)},
		"more than a day ahead":      {now.Add(24*time.Hour + time.Millisecond), now},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := believed(tt.stamp, now); !got.Equal(tt.want) {
				t.Errorf("taken as of %v, want %v", got, tt.want)
			}
		})
	}
}
