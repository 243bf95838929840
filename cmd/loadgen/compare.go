package main

import (
	"context"
	"slices"
)

// examples is how many identifiers are shown of many.
const examples = 5

// comparison is what there is beside what there must be.
type comparison struct {
	cohorts []difference
	// others are cohorts of Braze of which the file says nothing.
	others []brazeCohort
	// members counts the expected ones, unequal the cohorts that differ.
	members, unequal int
}

func (c *comparison) equal() bool { return c.unequal == 0 }

// difference is how one cohort differs.
type difference struct {
	id string
	// expected, got, missing and surplus count external ids.
	expected, got, missing, surplus  int
	missingExamples, surplusExamples []string
	// otherKinds counts members who are no external ids.
	otherKinds int
	// name and gotName are the same when names are not compared.
	name, gotName string
}

func (d *difference) equal() bool { return d.missing == 0 && d.surplus == 0 && d.name == d.gotName }

// compare asks Braze for all cohorts of the file.
func compare(ctx context.Context, braze *brazeAdmin, expected *outcome) (*comparison, error) {
	there, err := braze.cohorts(ctx)
	if err != nil {
		return nil, err
	}
	byID := make(map[string]brazeCohort, len(there))
	for _, c := range there {
		byID[c.ID] = c
	}
	result := new(comparison)
	for _, want := range expected.Cohorts {
		id := braze.id(want.ID)
		got, known := byID[id]
		delete(byID, id)
		d := difference{id: id, expected: len(want.Members)}
		var members []string
		if known { // Braze does not know a cohort that nobody has entered yet.
			if members, d.otherKinds, err = braze.members(ctx, id); err != nil {
				return nil, err
			}
			if braze.named() {
				d.name, d.gotName = want.Name, got.Name
			}
		}
		d.hold(want, members)
		result.members += d.expected
		if !d.equal() {
			result.unequal++
		}
		result.cohorts = append(result.cohorts, d)
	}
	for _, c := range there {
		if _, other := byID[c.ID]; other {
			result.others = append(result.others, c)
		}
	}
	return result, nil
}

// hold holds the members that there are against those that there must be.
func (d *difference) hold(want expectedCohort, got []string) {
	slices.Sort(want.Members)
	slices.Sort(want.Left)
	slices.Sort(got)
	d.got = len(got)
	for i, j := 0, 0; i < len(want.Members) || j < len(got); {
		switch {
		case j == len(got) || i < len(want.Members) && want.Members[i] < got[j]:
			if d.missing++; d.missing <= examples {
				d.missingExamples = append(d.missingExamples, want.Members[i])
			}
			i++
		case i == len(want.Members) || got[j] < want.Members[i]:
			if d.surplus++; d.surplus <= examples {
				d.surplusExamples = append(d.surplusExamples, got[j]+why(want, got[j]))
			}
			j++
		default:
			i++
			j++
		}
	}
}

// why says what an identifier that must not be there has to do with the run.
func why(want expectedCohort, id string) string {
	if _, left := slices.BinarySearch(want.Left, id); left {
		return " (left)"
	}
	return " (was never in)"
}
