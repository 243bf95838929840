package config

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
)

// key is one key of a block: the same table decodes, documents and prints it.
type key struct {
	name string
	// about is one line for people: the schema's description.
	about    string
	required bool
	value    value
}

// value is a place in a Config that a key fills.
type value interface {
	// decode sets the place or reports what is wrong.
	decode(d *decoder, path string, n ast.Node)
	// schema describes what the file may hold.
	schema() map[string]any
	// show returns the current value as YAML takes it; nil when there is none.
	show() any
}

// unbuilt stands for a key whose feature does not exist yet.
type unbuilt struct{}

const notSupported = "is not supported in this version"

func (unbuilt) decode(d *decoder, path string, _ ast.Node) { d.report(path, notSupported, "remove it") }
func (unbuilt) schema() map[string]any                     { return nil }
func (unbuilt) show() any                                  { return nil }

// text is a value written as text: parse says what is wrong with it, if
// anything, and format is its inverse.
type text[T any] struct {
	to     *T
	want   string
	parse  func(string) (T, string)
	format func(T) string
	// more is added to the schema.
	more map[string]any
	// numbers says that a plain whole number will do.
	numbers bool
}

func (v text[T]) decode(d *decoder, path string, n ast.Node) {
	s, kind := d.scalar(n)
	switch {
	case kind == "empty":
		d.report(path, "has no value", v.want)
	case kind == isNumber && v.numbers, kind == isText && !strings.Contains(s, "${"):
		parsed, wrong := v.parse(s)
		if wrong != "" {
			d.report(path, wrong, v.want)
			return
		}
		*v.to = parsed
	case kind == isText:
		d.report(path, "is a reference, which only secrets may be", v.want)
	case kind == isNumber || kind == isBool:
		d.report(path, "is "+kind+" to YAML", v.want+", in quotes where need be")
	default:
		d.report(path, "is "+kind+" to YAML", v.want+", in quotes where need be")
	}
}

func (v text[T]) schema() map[string]any {
	s := map[string]any{"type": "string"}
	if v.numbers {
		s["type"] = []string{"string", "integer"}
	}
	maps.Copy(s, v.more)
	return s
}

func (v text[T]) show() any {
	if s := v.format(*v.to); s != "" {
		return s
	}
	return nil
}

func same[T ~string](v T) string { return string(v) }

// words is free text; check says what is wrong with it, if anything.
func words(to *string, want string, check func(string) string) value {
	return text[string]{to: to, want: want, format: same[string], parse: func(s string) (string, string) {
		if strings.TrimSpace(s) == "" {
			return "", "is empty"
		}
		if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return "", "has control characters"
		}
		return s, check(s)
	}}
}

func anything(string) string { return "" }

// oneOf is one of a few words; those of later belong to features to come.
func oneOf[T ~string](to *T, allowed []T, later ...T) value {
	names := make([]string, len(allowed))
	for i, a := range allowed {
		names[i] = string(a)
	}
	return text[T]{
		to: to, want: "want " + strings.Join(names, " or "), format: same[T],
		more: map[string]any{"enum": names},
		parse: func(s string) (T, string) {
			switch {
			case slices.Contains(allowed, T(s)):
				return T(s), ""
			case slices.Contains(later, T(s)):
				return "", strconv.Quote(s) + " " + notSupported
			default:
				return "", strconv.Quote(s) + " is not known"
			}
		},
	}
}

// duration is a Go duration of more than nothing.
func duration(to *time.Duration) value {
	return text[time.Duration]{
		to: to, want: "want a positive time with its unit, such as 500ms, 15s or 10m", format: formatDuration,
		more: map[string]any{"pattern": `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$`},
		parse: func(s string) (time.Duration, string) {
			d, err := time.ParseDuration(s)
			if err != nil {
				return 0, strconv.Quote(s) + " is not a duration"
			}
			if d <= 0 {
				return 0, "must be more than nothing"
			}
			return d, ""
		},
	}
}

// formatDuration leaves out the zero units that Go appends: 1h, not 1h0m0s.
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// whole is a whole number within bounds; most 0 means no upper bound.
type whole struct {
	to          *int
	least, most int
}

func (v whole) decode(d *decoder, path string, n ast.Node) {
	want := fmt.Sprintf("want a whole number from %d", v.least)
	if v.most > 0 {
		want += fmt.Sprintf(" to %d", v.most)
	}
	s, kind := d.scalar(n)
	if kind != isNumber {
		d.report(path, "is "+kind, want)
		return
	}
	i, err := strconv.ParseInt(strings.ReplaceAll(s, "_", ""), 0, 32)
	switch {
	case err != nil:
		d.report(path, "is not a number that fits", want)
	case int(i) < v.least:
		d.report(path, "is too low", want)
	case v.most > 0 && int(i) > v.most:
		d.report(path, "is too high", want)
	default:
		*v.to = int(i)
	}
}

func (v whole) schema() map[string]any {
	s := map[string]any{"type": "integer", "minimum": v.least}
	if v.most > 0 {
		s["maximum"] = v.most
	}
	return s
}

func (v whole) show() any { return *v.to }

// boolean is true or false.
type boolean struct{ to *bool }

func (v boolean) decode(d *decoder, path string, n ast.Node) {
	s, kind := d.scalar(n)
	if kind != isBool {
		d.report(path, "is "+kind, "want true or false")
		return
	}
	*v.to = strings.EqualFold(s, "true")
}

func (v boolean) schema() map[string]any { return map[string]any{"type": "boolean"} }
func (v boolean) show() any              { return *v.to }

// secret is a credential; open ones may stand in the file without a warning.
type secret struct {
	to   *Secret
	open bool
}

func (v secret) decode(d *decoder, path string, n ast.Node) {
	const want = "want ${env:NAME} or ${file:PATH}, in quotes where need be"
	s, kind := d.scalar(n)
	if kind != isText {
		d.report(path, "is "+kind, want)
		return
	}
	made := NewSecret(s, d.from)
	switch {
	case strings.TrimSpace(s) == "":
		d.report(path, "is empty", want)
		return
	case made.Reference() == "" && !v.open:
		d.warn(path, "is a plain secret in the file", "move it out and refer to it: ${env:NAME} or ${file:PATH}")
	case made.Reference() != "":
		if _, _, err := splitReference(s); err != nil {
			d.report(path, err.Error(), want)
			return
		}
	}
	*v.to = made
}

func (v secret) schema() map[string]any { return map[string]any{"type": "string", "minLength": 1} }

func (v secret) show() any {
	if v.to.IsZero() {
		return nil
	}
	return v.to.shown()
}

// block is a nested block of keys.
type block []key

func (v block) decode(d *decoder, path string, n ast.Node) { d.object(path, n, v) }

func (v block) schema() map[string]any {
	properties, required := map[string]any{}, []string{}
	for _, k := range v {
		s := k.value.schema()
		if s == nil {
			continue
		}
		s["description"] = k.about
		if _, isBlock := k.value.(block); !isBlock && !k.required {
			if shown := k.value.show(); shown != nil {
				s["default"] = shown
			}
		}
		properties[k.name] = s
		if k.required {
			required = append(required, k.name)
		}
	}
	s := map[string]any{"type": []string{"object", "null"}, "additionalProperties": false, "properties": properties}
	if len(required) > 0 {
		s["required"] = required
		s["type"] = "object"
	}
	return s
}

func (v block) show() any {
	shown := yaml.MapSlice{}
	for _, k := range v {
		if s := k.value.show(); s != nil {
			shown = append(shown, yaml.MapItem{Key: k.name, Value: s})
		}
	}
	return shown
}

// list is a list of elements, each decoded over a fresh one.
type list[T any] struct {
	to    *[]T
	fresh func() T
	of    func(*T) value
	// nonempty refuses a list without elements.
	nonempty bool
}

func (v list[T]) decode(d *decoder, path string, n ast.Node) {
	items, ok := d.items(path, n)
	if ok && len(items) == 0 && v.nonempty {
		d.report(path, "is empty", "want at least one")
	}
	for i, item := range items {
		at, element := index(path, i), v.fresh()
		d.at[at] = positionOf(d.follow(item))
		v.of(&element).decode(d, at, item)
		*v.to = append(*v.to, element)
	}
}

func (v list[T]) schema() map[string]any {
	element := v.fresh()
	s := map[string]any{"type": []string{"array", "null"}, "items": v.of(&element).schema()}
	if v.nonempty {
		s["type"], s["minItems"] = "array", 1
	}
	return s
}

func (v list[T]) show() any {
	if len(*v.to) == 0 {
		return nil
	}
	shown := make([]any, len(*v.to))
	for i := range *v.to {
		shown[i] = v.of(&(*v.to)[i]).show()
	}
	return shown
}
