package catalog

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// MaxAttribute is how long an attribute's name may be, in characters
// (https://www.braze.com/docs/api/objects_filters/user_attributes_object).
const MaxAttribute = 255

// The placeholders of a template of attributes' names.
const (
	CohortIDPlaceholder = "{cohort_id}"
	SyncPlaceholder     = "{sync}"
)

// AttributeOf returns the name of a cohort's custom attribute, and what is
// wrong with it, if anything: then it must not be written.
func (t *Target) AttributeOf(cohortID, sync string) (name, wrong string) {
	name = strings.NewReplacer(CohortIDPlaceholder, cohortID, SyncPlaceholder, sync).Replace(t.Attribute)
	switch {
	case utf8.RuneCountInString(name) > MaxAttribute:
		return name, "is longer than 255 characters"
	case strings.HasPrefix(name, "$"):
		return name, "begins with a dollar sign, which Braze keeps for itself"
	case slices.Contains(ownFields(), strings.ToLower(name)):
		return name, "is a field of Braze's own"
	default:
		return name, ""
	}
}

// ownFields are what /users/track takes for something else than a custom
// attribute (https://www.braze.com/docs/api/objects_filters/user_attributes_object):
// writing a membership there would overwrite people's profiles.
func ownFields() []string {
	return []string{
		"_merge_objects", "_update_existing_only", "alias_label", "alias_name", "app_id", "attributed_ad",
		"attributed_adgroup", "attributed_campaign", "attributed_source", "braze_id", "country", "current_location",
		"date_of_first_session", "date_of_last_session", "dob", "email", "email_click_tracking_disabled",
		"email_open_tracking_disabled", "email_subscribe", "external_id", "facebook", "first_name", "gender",
		"home_city", "image_url", "language", "last_name", "marked_email_as_spam_at", "phone", "push_subscribe",
		"push_token_import", "push_tokens", "subscription_groups", "time_zone", "twitter", "update_timestamp",
		"user_alias",
	}
}
