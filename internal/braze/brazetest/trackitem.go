package brazetest

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"cohortsync/internal/catalog"
)

// scanTrack reads a request of attributes alone, unless it gives up.
func (x *exchange) scanTrack(s *scanner) bool {
	if !s.open() || !s.key("attributes") {
		return false
	}
	most := strings.Count(s.text, "{")
	ops, items := make([]Op, 0, most), make([]trackItem, 0, most)
	read := s.list(func() bool {
		item := trackItem{from: len(ops)}
		op, ok := s.object(&item)
		if op.Cohort != "" {
			ops = append(ops, op)
		}
		item.to = len(ops)
		items = append(items, item)
		return ok
	})
	if !read || !s.shut() || !s.end() {
		return false
	}
	x.Ops, x.track = ops, trackRequest{items: items, objects: len(items)}
	return true
}

// object reads an object of the attributes array: one external_id or
// user_alias, and beside _update_existing_only at most one attribute.
func (s *scanner) object(item *trackItem) (op Op, ok bool) {
	switch ok = s.open(); {
	case ok && s.key("external_id"):
		item.identifier.Kind = catalog.ExternalID
		item.identifier.Value, ok = s.str()
	case ok && s.key("user_alias"):
		item.identifier, ok = s.alias()
	default:
		return Op{}, false
	}
	item.err = wrongWith(item.identifier)
	if ok && s.key("_update_existing_only") {
		item.existing = s.word("true")
		ok = item.existing || s.word("false")
	}
	if ok && s.take(',') {
		op = Op{Identifier: item.identifier}
		if op.Cohort, ok = s.str(); !ok || op.Cohort == "" || reserved(op.Cohort) || !s.take(':') {
			return Op{}, false
		}
		op.Remove = !s.word("true")
		ok = !op.Remove || s.word("false") || s.word("null")
		if item.err == "" {
			item.err = wrongName(op.Cohort)
		}
	}
	return op, ok && s.shut()
}

// decodeTrack reads any request of the attributes API.
func (x *exchange) decodeTrack() *reply {
	var body struct {
		Attributes []map[string]json.RawMessage `json:"attributes"`
		Events     []json.RawMessage            `json:"events"`
		Purchases  []json.RawMessage            `json:"purchases"`
	}
	if err := json.Unmarshal(x.body, &body); err != nil {
		return says(http.StatusBadRequest, textJSON)
	}
	x.track.objects = len(body.Attributes) + len(body.Events) + len(body.Purchases)
	for _, fields := range body.Attributes {
		x.decodeItem(fields)
	}
	return nil
}

// decodeItem reads an object: who it is about, and every attribute that is
// true, false or null. Attributes of other types are not kept.
func (x *exchange) decodeItem(fields map[string]json.RawMessage) {
	item := trackItem{from: len(x.Ops), existing: string(fields["_update_existing_only"]) == "true"}
	item.identifier, item.err = identify(fields)
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if reserved(name) {
			continue
		}
		if item.err == "" {
			item.err = wrongName(name)
		}
		value := string(fields[name])
		if item.identifier.Kind != 0 && (value == "true" || value == "false" || value == "null") {
			x.Ops = append(x.Ops, Op{Identifier: item.identifier, Remove: value != "true", Cohort: name})
		}
	}
	item.to = len(x.Ops)
	x.track.items = append(x.track.items, item)
}

// reserved says that a field is no attribute of membership.
func reserved(name string) bool {
	switch name {
	case "external_id", "user_alias", "braze_id", "device_id", "email", "phone", "_update_existing_only":
		return true
	default:
		return false
	}
}

// identify returns whom an object is about, and what is wrong with that. It
// has exactly one primary identifier, or an email address or phone number. Of
// those and of Braze's own ids nobody is known here, so they have no kind.
func identify(fields map[string]json.RawMessage) (id catalog.Identifier, wrong string) {
	primaries := 0
	if value, ok := fields["external_id"]; ok {
		primaries++
		id.Kind = catalog.ExternalID
		if json.Unmarshal(value, &id.Value) != nil {
			id.Value = ""
		}
	}
	if value, ok := fields["user_alias"]; ok {
		primaries++
		var a alias
		if json.Unmarshal(value, &a) != nil {
			a = alias{}
		}
		id = catalog.Identifier{Kind: catalog.UserAlias, Value: a.Name, Label: a.Label}
	}
	if _, ok := fields["braze_id"]; ok {
		primaries++
	}
	_, email := fields["email"]
	_, phone := fields["phone"]
	_, device := fields["device_id"]
	if primaries > 1 || device || primaries == 0 && !email && !phone {
		return id, textIdentifier
	}
	return id, wrongWith(id)
}

// wrongWith says what is wrong with an identifier.
func wrongWith(id catalog.Identifier) string {
	switch {
	case id.Kind != 0 && id.Value == "", id.Kind == catalog.UserAlias && id.Label == "":
		return textIdentifier
	case id.Kind == catalog.ExternalID && len(id.Value) > maxExternalID:
		return textLongID
	default:
		return ""
	}
}

// wrongName says what is wrong with an attribute's name.
func wrongName(name string) string {
	if utf8.RuneCountInString(name) > maxAttribute {
		return textLongName
	}
	return ""
}
