package catalog

import "testing"

func TestRoutes(t *testing.T) {
	t.Parallel()
	syncs := []Sync{
		{Name: "named", CohortID: "c1", Target: "US"},
		{Name: "rest", CohortID: Wildcard, Target: "US"},
		{Name: "elsewhere", CohortID: "c2", Target: "EU"},
	}
	tests := map[string]struct {
		target, cohort string
		want           string
	}{
		"a cohort that a sync names":                 {"US", "c1", "named"},
		"a cohort that the wildcard takes":           {"US", "c2", "rest"},
		"the wildcard of another target is not ours": {"EU", "c1", ""},
		"a cohort of this target":                    {"EU", "c2", "elsewhere"},
		"a target without syncs":                     {"JP", "c1", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := ""
			if s := NewRoutes(tt.target, syncs).Route([]byte(tt.cohort)); s != nil {
				got = s.Name
			}
			if got != tt.want {
				t.Errorf("routed to %q, want %q", got, tt.want)
			}
		})
	}
}

func TestRoutesKeepACopyOfTheSyncs(t *testing.T) {
	t.Parallel()
	syncs := []Sync{{Name: "before", CohortID: "c1", Target: "US"}}
	routes := NewRoutes("US", syncs)
	syncs[0].Name = "after"
	if got := routes.Route([]byte("c1")).Name; got != "before" {
		t.Errorf("the routes follow the caller's slice: %q", got)
	}
	if n := len(routes.Syncs()); n != 1 {
		t.Errorf("%d syncs", n)
	}
}
