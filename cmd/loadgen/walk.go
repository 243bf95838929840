package main

import "math/rand/v2"

// walk visits every membership once, all cohorts at a time: each advances as
// its size demands, so that all come to their ends together.
type walk struct {
	people *population
	// at picks the next cohort. It steps through all memberships, by a step
	// that has no divisor in common with their number and is near the golden
	// section of it, which spreads the places that it comes to.
	at, step int64
	steps    int64
	// visited counts the users of each cohort who were visited.
	visited []int64
}

func newWalk(p *population, rng *rand.Rand) *walk {
	const goldenSection = 0.6180339887498949
	total := p.total()
	step := max(1, int64(float64(total)*goldenSection))
	for divisor(step, total) > 1 {
		step++
	}
	return &walk{people: p, at: rng.Int64N(total), step: step, visited: make([]int64, len(p.ends))}
}

// next returns users of one cohort who were not there yet, as many as wanted
// or as the cohort still has.
func (w *walk) next(users int) (stretch, bool) {
	for total := w.people.total(); w.steps < total; {
		cohort := w.people.cohortOf(w.at)
		w.at = (w.at + w.step) % total
		w.steps++
		first := w.visited[cohort]
		if n := min(int64(users), w.people.size(cohort)-first); n > 0 {
			w.visited[cohort] += n
			return stretch{first: first, cohort: int32(cohort), users: int32(n)}, true
		}
	}
	return stretch{}, false
}

// divisor returns the greatest common one.
func divisor(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
