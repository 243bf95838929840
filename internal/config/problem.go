package config

import (
	"fmt"
	"strings"
)

// Problem is one thing that is wrong, or for a warning doubtful, in a file.
// Its text never holds a secret.
type Problem struct {
	File string
	// Line and Column count from 1.
	Line   int
	Column int
	// Path is the YAML path, such as targets[1].endpoint; empty for the file.
	Path string
	// What is wrong, and what would be right in its place.
	What string
	Want string
	// Warning says that the file works all the same.
	Warning bool
}

// String returns the problem on one line, in the form that editors link.
func (p Problem) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d:%d: ", p.File, p.Line, p.Column)
	if p.Warning {
		b.WriteString("warning: ")
	}
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	b.WriteString(p.What)
	if p.Want != "" {
		b.WriteString("; " + p.Want)
	}
	return b.String()
}

// Problems is every problem of a file in the file's order. As an error it
// means that the configuration cannot be used.
type Problems []Problem

// Error returns one line for each problem.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, one := range p {
		lines[i] = one.String()
	}
	return strings.Join(lines, "\n")
}

// split parts the problems into errors and warnings.
func (p Problems) split() (errs, warnings Problems) {
	for _, one := range p {
		if one.Warning {
			warnings = append(warnings, one)
		} else {
			errs = append(errs, one)
		}
	}
	return errs, warnings
}

// position is a place in the file, counted from 1.
type position struct{ line, column int }

// positions knows where each YAML path of a file stands.
type positions struct {
	name string
	at   map[string]position
}

// has says whether the file gives the path.
func (f *positions) has(path string) bool {
	_, ok := f.at[path]
	return ok
}

// find returns where path stands, or for what is missing the nearest block
// around it.
func (f *positions) find(path string) position {
	for path != "" {
		if p, ok := f.at[path]; ok {
			return p
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
	if p, ok := f.at[""]; ok {
		return p
	}
	return position{1, 1}
}

// problem makes a problem of the value at path.
func (f *positions) problem(path, what, want string) Problem {
	return f.problemAt(f.find(path), path, what, want)
}

// problemAt makes a problem of path at an explicit place, such as a key's.
func (f *positions) problemAt(at position, path, what, want string) Problem {
	return Problem{File: f.name, Line: max(at.line, 1), Column: max(at.column, 1), Path: path, What: what, Want: want}
}
