package event

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
)

const schemaFile = "../../docs/event.schema.json"

func TestTheSchemaAndTheDecoderAgree(t *testing.T) {
	t.Parallel()
	schema, err := jsonschema.NewCompiler().Compile(schemaFile)
	require.NoError(t, err)
	for name, c := range map[string]struct {
		value string
		good  bool
	}{
		"the payload of the design":    {webhook, true},
		"no users":                     {string(payload("users", "[]")), true},
		"nobody's user":                {string(payload("users", "[{}]")), true},
		"several devices":              {string(payload("users", `[{"device_id":["a",7,null]}]`)), true},
		"unknown fields":               {`{"cohort_id":"c","in_cohort":false,"users":[{"x":[1]}],"y":{}}`, true},
		"a number for a time":          {string(payload("computed_time", "1692206763.25")), true},
		"a text for a time":            {string(payload("computed_time", `"2023-08-16T17:26:03.5+00:00"`)), true},
		"an exponent in a time":        {string(payload("computed_time", `"1.692206763e9"`)), true},
		"no time":                      {string(payload("computed_time", "null")), true},
		"a cohort id with a space":     {string(payload("cohort_id", `"high ltv"`)), true},
		"not an object":                {`[]`, false},
		"no cohort id":                 {string(payload("cohort_id", "")), false},
		"an empty cohort id":           {string(payload("cohort_id", `""`)), false},
		"a blank cohort id":            {string(payload("cohort_id", `" "`)), false},
		"a number for a cohort id":     {string(payload("cohort_id", "7")), false},
		"a cohort id with a control":   {string(payload("cohort_id", `"a\u0007b"`)), false},
		"a cohort id of 256 bytes":     {string(payload("cohort_id", `"`+strings.Repeat("x", 256)+`"`)), false},
		"no in_cohort":                 {string(payload("in_cohort", "")), false},
		"a string for in_cohort":       {string(payload("in_cohort", `"true"`)), false},
		"no array of users":            {string(payload("users", "")), false},
		"an object for users":          {string(payload("users", "{}")), false},
		"a user that is not an object": {string(payload("users", `["u"]`)), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			instance, err := jsonschema.UnmarshalJSON(strings.NewReader(c.value))
			require.NoError(t, err)
			e, decodeErr := NewDecoder(nil).Decode([]byte(c.value), stamp)
			if c.good {
				require.NoError(t, schema.Validate(instance))
				require.NoError(t, decodeErr)
				require.False(t, e.TimeIssue.Wrong())
			} else {
				require.Error(t, schema.Validate(instance))
				require.Error(t, decodeErr)
			}
		})
	}
}

func TestTheSchemasExamplesDecode(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(schemaFile)
	require.NoError(t, err)
	var schema struct{ Examples []json.RawMessage }
	require.NoError(t, json.Unmarshal(text, &schema))
	require.NotEmpty(t, schema.Examples)
	for _, example := range schema.Examples {
		_, err := NewDecoder(nil).Decode(example, stamp)
		require.NoError(t, err)
	}
}
