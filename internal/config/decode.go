package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// Parse decodes and checks a file's content; name stands in its problems.
// References to secrets are looked up by way of from. It returns the warnings
// besides the configuration, or an error that is a Problems with every error
// of the file. It does not look where the file points to, for a command that
// talks to Kafka alone needs no Braze key: ParseAll does.
func Parse(name string, data []byte, from Source) (*Config, Problems, error) {
	return parse(name, data, from, false)
}

// ParseAll is Parse, and reports with the rest every secret that does not
// resolve and every file that cannot be used.
func ParseAll(name string, data []byte, from Source) (*Config, Problems, error) {
	return parse(name, data, from, true)
}

func parse(name string, data []byte, from Source, all bool) (*Config, Problems, error) {
	d := &decoder{
		positions: positions{name: name, at: make(map[string]position)},
		anchors:   make(map[string]ast.Node),
		from:      from,
	}
	c := defaults()
	c.file = &d.positions
	if root, ok := d.parse(data); ok {
		draft := draft{Config: &c, braze: defaultTarget()}
		d.object("", root, draft.keys())
		draft.complete(&d.positions)
		d.problems = append(d.problems, c.check()...)
		if all {
			d.problems = append(d.problems, c.checkReferences(from)...)
		}
	}
	slices.SortStableFunc(d.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	errs, warnings := d.problems.split()
	if len(errs) > 0 {
		return nil, warnings, errs
	}
	return &c, warnings, nil
}

// decoder walks the file's tree and notes where everything stands. It goes on
// after a problem, so that one look shows them all.
type decoder struct {
	positions
	problems Problems
	anchors  map[string]ast.Node
	from     Source
}

func (d *decoder) report(path, what, want string) {
	d.problems = append(d.problems, d.problem(path, what, want))
}

func (d *decoder) warn(path, what, want string) {
	p := d.problem(path, what, want)
	p.Warning = true
	d.problems = append(d.problems, p)
}

// parse returns the tree's root, nil for an empty file.
func (d *decoder) parse(data []byte) (root ast.Node, ok bool) {
	file, err := parseYAML(data)
	if err != nil {
		d.problems = append(d.problems, d.syntaxProblem(err))
		return nil, false
	}
	for _, doc := range file.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.CommentType {
			continue
		}
		if root != nil {
			d.problems = append(d.problems, d.problemAt(positionOf(doc.Body), "",
				"is a second document", "keep one YAML document in the file"))
			continue
		}
		root = doc.Body
	}
	if _, isBlock := entriesOf(d.follow(root)); !isBlock {
		d.report("", "is "+kindOf(d.follow(root)), "want a block of keys")
		return nil, false
	}
	return root, true
}

// parseYAML parses the text. The parser panics on some broken files; to the
// user that is one more syntax error.
func parseYAML(data []byte) (file *ast.File, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = errors.New("is not valid YAML")
		}
	}()
	return parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
}

// syntaxProblem leaves the source line out of the message: it may hold a
// plain secret.
func (d *decoder) syntaxProblem(err error) Problem {
	var syntax *yaml.SyntaxError
	if errors.As(err, &syntax) && syntax.Token != nil && syntax.Token.Position != nil {
		at := position{syntax.Token.Position.Line, syntax.Token.Position.Column}
		// What the message quotes may be a plain secret, too.
		what, _, _ := strings.Cut(syntax.Message, `"`)
		what, _, _ = strings.Cut(what, "'")
		return d.problemAt(at, "", "is not valid YAML: "+strings.TrimRight(what, ": "), "mind indentation, quotes and brackets")
	}
	return d.problemAt(position{1, 1}, "", "is not valid YAML", "mind indentation, quotes and brackets")
}

// object decodes a block of keys. A block without content is one in which
// everything has its default.
func (d *decoder) object(path string, n ast.Node, keys []key) {
	n = d.follow(n)
	entries, ok := entriesOf(n)
	if !ok {
		d.report(path, "is "+kindOf(n), "want a block of keys")
		return
	}
	seen := make(map[string]position)
	for _, e := range entries {
		d.entry(path, e, keys, seen)
	}
	for _, k := range keys {
		if _, given := seen[k.name]; k.required && !given {
			d.report(join(path, k.name), "is missing", "add "+k.name+": "+k.about)
		}
	}
}

func (d *decoder) entry(path string, e *ast.MappingValueNode, keys []key, seen map[string]position) {
	name, at := e.Key.GetToken().Value, positionOf(e.Key)
	inside := join(path, name)
	if first, again := seen[name]; again {
		d.problems = append(d.problems, d.problemAt(at, inside,
			"is given twice", fmt.Sprintf("keep this one or that of line %d", first.line)))
		return
	}
	i := slices.IndexFunc(keys, func(k key) bool { return k.name == name })
	if i < 0 {
		d.problems = append(d.problems, d.problemAt(at, inside, "is an unknown key", wantOf(name, keys)))
		return
	}
	seen[name] = at
	d.at[inside] = at
	if v := d.follow(e.Value); v != nil && v.Type() != ast.NullType {
		d.at[inside] = positionOf(v)
	}
	keys[i].value.decode(d, inside, e.Value)
}

// items returns the elements of a list; none when there is no content.
func (d *decoder) items(path string, n ast.Node) (items []ast.Node, ok bool) {
	switch n := d.follow(n).(type) {
	case nil, *ast.NullNode:
		return nil, true
	case *ast.SequenceNode:
		return n.Values, true
	default:
		d.report(path, "is "+kindOf(n), "want a list: [a, b], or one \"- \" line for each")
		return nil, false
	}
}

// scalar returns the text of a scalar as the file has it, and its kind.
func (d *decoder) scalar(n ast.Node) (text, kind string) {
	n = d.follow(n)
	switch n := n.(type) {
	case *ast.StringNode:
		text = n.Value
	case *ast.LiteralNode:
		text = n.Value.Value
	case *ast.IntegerNode, *ast.BoolNode:
		text = n.GetToken().Value
	}
	return text, kindOf(n)
}

// follow sees through anchors, aliases and tags. The shape of the file is
// finite, so that an alias inside its own anchor cannot lead astray for long.
func (d *decoder) follow(n ast.Node) ast.Node {
	for range 32 { // enough for any honest chain of them
		switch v := n.(type) {
		case *ast.AnchorNode:
			d.anchors[v.Name.GetToken().Value] = v.Value
			n = v.Value
		case *ast.AliasNode:
			n = d.anchors[v.Value.GetToken().Value]
		case *ast.TagNode:
			n = v.Value
		default:
			return n
		}
	}
	return nil
}

// The kinds of YAML values as problems name them.
const (
	isText   = "text"
	isNumber = "a number"
	isBool   = "true or false"
)

func kindOf(n ast.Node) string {
	switch n.(type) {
	case *ast.StringNode, *ast.LiteralNode:
		return isText
	case *ast.IntegerNode:
		return isNumber
	case *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "a fraction"
	case *ast.BoolNode:
		return isBool
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a block of keys"
	case *ast.SequenceNode:
		return "a list"
	default:
		return "empty"
	}
}

func entriesOf(n ast.Node) ([]*ast.MappingValueNode, bool) {
	switch n := n.(type) {
	case nil, *ast.NullNode:
		return nil, true
	case *ast.MappingNode:
		return n.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}, true
	default:
		return nil, false
	}
}

// positionOf returns where a node begins; a block begins at its first key.
func positionOf(n ast.Node) position {
	if entries, ok := entriesOf(n); ok && len(entries) > 0 {
		if m, isMap := n.(*ast.MappingNode); !isMap || !m.IsFlowStyle {
			n = entries[0].Key
		}
	}
	if n == nil || n.GetToken() == nil || n.GetToken().Position == nil {
		return position{1, 1}
	}
	p := n.GetToken().Position
	return position{p.Line, p.Column}
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func index(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// wantOf names the known key that is nearest to a wrong one, or all of them.
func wantOf(name string, keys []key) string {
	names, best, least := make([]string, 0, len(keys)), "", 1+len(name)/3
	for _, k := range keys {
		if _, later := k.value.(unbuilt); !later {
			names = append(names, k.name)
		}
		if n := distance(name, k.name); n <= least {
			best, least = k.name, n-1
		}
	}
	if best != "" {
		return "did you mean " + best + "?"
	}
	return "known here: " + strings.Join(names, ", ")
}

// distance is the Levenshtein distance: how many letters to add, drop or
// change. Long names are not compared, for nobody mistypes that much.
func distance(a, b string) int {
	if len(a) > 64 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
