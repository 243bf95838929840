package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
)

// population is who is in question: each cohort has its users, as many as
// Zipf's law gives it. A membership, one user of one cohort, has a number; the
// memberships of a cohort follow each other. It does not change.
type population struct {
	prefix string
	// ends has the number behind the last membership of each cohort.
	ends []int64
	// disjoint says that no user is in two cohorts. Else the users of a small
	// cohort are in the larger ones, too.
	disjoint bool
}

// newPopulation divides users memberships among the cohorts: the k-th gets
// k^-exponent's part of them, and at least one.
func newPopulation(s shape) *population {
	p := &population{prefix: s.Prefix, ends: make([]int64, s.Cohorts), disjoint: s.Unique}
	total := 0.0
	for k := range p.ends {
		total += zipf(k, s.Zipf)
	}
	sum, divisible := 0.0, float64(s.Users-int64(s.Cohorts))
	for k := range p.ends {
		sum += zipf(k, s.Zipf)
		p.ends[k] = int64(k) + 1 + int64(math.Round(divisible*min(1, sum/total)))
	}
	p.ends[s.Cohorts-1] = s.Users
	return p
}

// zipf is the weight of the cohort with that index.
func zipf(k int, exponent float64) float64 { return math.Pow(float64(k+1), -exponent) }

// total is how many memberships there are.
func (p *population) total() int64 { return p.ends[len(p.ends)-1] }

// begin is the number of a cohort's first membership.
func (p *population) begin(cohort int) int64 {
	if cohort == 0 {
		return 0
	}
	return p.ends[cohort-1]
}

// size is how many users a cohort is about.
func (p *population) size(cohort int) int64 { return p.ends[cohort] - p.begin(cohort) }

// cohortOf returns the cohort of a membership.
func (p *population) cohortOf(membership int64) int {
	i, found := slices.BinarySearch(p.ends, membership)
	if found {
		i++
	}
	return i
}

// membership returns the number of the i-th user of a cohort. Past its last
// one it begins again.
func (p *population) membership(cohort int, i int64) int64 {
	return p.begin(cohort) + i%p.size(cohort)
}

// user returns the number of the user whose membership it is.
func (p *population) user(cohort int, membership int64) int64 {
	if p.disjoint {
		return membership
	}
	return membership - p.begin(cohort)
}

// cohortID is at the same time the record's key.
func (p *population) cohortID(cohort int) string { return fmt.Sprintf("%s-%06d", p.prefix, cohort+1) }

func (p *population) cohortName(cohort int) string {
	return fmt.Sprintf("Cohort %d of %s", cohort+1, p.prefix)
}

// appendUserID appends the external id of a user. All have the same length, so
// their order is that of their numbers.
func (p *population) appendUserID(dst []byte, user int64) []byte {
	return appendNumber(append(append(dst, p.prefix...), "-user-"...), user)
}

// appendNumber appends nine digits.
func appendNumber(dst []byte, n int64) []byte {
	for limit := int64(mostUsers / 10); limit > max(n, 1); limit /= 10 {
		dst = append(dst, '0')
	}
	return strconv.AppendInt(dst, n, 10)
}
