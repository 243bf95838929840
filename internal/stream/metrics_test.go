package stream

import (
	"strings"
)

// gather returns every series of the rig by its name and labels, such as
// changes_skipped_total{reason=empty}, the prefix and the target cut. A
// histogram is its _count and its _sum.
func (r *rig) gather() map[string]float64 {
	r.t.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	all := make(map[string]float64)
	for _, family := range families {
		name := strings.TrimPrefix(family.GetName(), "cohortsync_")
		for _, m := range family.GetMetric() {
			labels := ""
			for _, l := range m.GetLabel() {
				if l.GetName() != "target" {
					labels += "{" + l.GetName() + "=" + l.GetValue() + "}"
				}
			}
			switch {
			case m.GetCounter() != nil:
				all[name+labels] = m.GetCounter().GetValue()
			case m.GetGauge() != nil:
				all[name+labels] = m.GetGauge().GetValue()
			case m.GetHistogram() != nil:
				all[name+"_count"+labels] = float64(m.GetHistogram().GetSampleCount())
				all[name+"_sum"+labels] = m.GetHistogram().GetSampleSum()
			}
		}
	}
	return all
}
