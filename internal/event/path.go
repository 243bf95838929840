package event

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Path leads from a user's object to one of its properties: {"user_id"},
// {"user_properties", "crm_id"}. It comes from ParsePath.
type Path []string

// maxSteps bounds how deep the decoder recurses.
const maxSteps = 16

// ParsePath reads a path whose steps are separated by dots, such as
// "user_properties.crm_id". A property whose own name has a dot cannot be
// reached. Steps are compared with the unescaped keys, letter case included.
func ParsePath(s string) (Path, error) {
	switch {
	case s == "":
		return nil, errors.New("the path is empty")
	case !utf8.ValidString(s) || strings.ContainsRune(s, utf8.RuneError):
		// U+FFFD stands for broken bytes in decoded keys: it must match none.
		return nil, errors.New("the path is not valid UTF-8")
	}
	path := Path(strings.Split(s, "."))
	if slices.Contains(path, "") {
		return nil, fmt.Errorf("the path %q has an empty step", s)
	}
	if len(path) > maxSteps {
		return nil, fmt.Errorf("the path %q has more than %d steps", s, maxSteps)
	}
	return path, nil
}

// String returns the path as ParsePath reads it.
func (p Path) String() string { return strings.Join(p, ".") }

// node is one step of the wanted paths, which together form a tree.
type node struct {
	name string
	// leaves are the paths that end here: several when a path is given twice.
	leaves []int
	// under are all paths that end here or further down.
	under    []int
	children []node
}

func newTree(paths []Path) node {
	var root node
	for index, path := range paths {
		n := &root
		for _, step := range path {
			n.under = append(n.under, index)
			n = n.child(step)
		}
		n.under = append(n.under, index)
		n.leaves = append(n.leaves, index)
	}
	return root
}

// child returns the child of that name, which it makes where there is none.
func (n *node) child(name string) *node {
	for i := range n.children {
		if n.children[i].name == name {
			return &n.children[i]
		}
	}
	n.children = append(n.children, node{name: name})
	return &n.children[len(n.children)-1]
}
