package config

import (
	"net/url"
	"regexp"
	"strings"
)

const wantEndpoint = "want the REST endpoint of your cluster, such as https://rest.iad-01.braze.com"

// The hosts of Braze's clusters
// (https://www.braze.com/docs/user_guide/administrative/access_braze/sdk_endpoints).
var (
	restHost      = regexp.MustCompile(`^rest\.[a-z]+-[0-9]+\.braze\.(com|eu)$`)
	sdkHost       = regexp.MustCompile(`^sdk\.([a-z]+-[0-9]+\.braze\.(?:com|eu))$`)
	numberedBoard = regexp.MustCompile(`^dashboard-([0-9]+)\.braze\.(com|eu)$`)
	namedBoard    = regexp.MustCompile(`^dashboard\.([a-z]+-[0-9]+\.braze\.(?:com|eu))$`)
)

// cleanEndpoint returns the endpoint in its one spelling, or what is wrong
// with it and what would be right. It never quotes the URL, which may hold a
// password.
func cleanEndpoint(raw string, anyHost bool) (clean, wrong, want string) {
	u, err := url.Parse(raw)
	if err == nil && u.Host == "" && !strings.Contains(raw, "://") {
		if bare, bareErr := url.Parse("https://" + raw); bareErr == nil && restHost.MatchString(bare.Hostname()) {
			return "", "has no scheme", "use https://" + bare.Hostname()
		}
	}
	switch {
	case err != nil || u.Hostname() == "":
		return "", "is not a URL", wantEndpoint
	case u.User != nil:
		return "", "holds a user or password", "leave out what stands before the @"
	case u.RawQuery != "" || u.Fragment != "" || u.ForceQuery:
		return "", "has a query or fragment", "end it with the host"
	}
	u.Host = strings.ToLower(u.Host)
	if anyHost {
		if u.Scheme != "http" && u.Scheme != "https" {
			return "", "is neither http nor https", "want an http or https URL"
		}
		return strings.TrimRight(u.String(), "/"), "", ""
	}
	return cleanBraze(u)
}

func cleanBraze(u *url.URL) (clean, wrong, want string) {
	host := u.Hostname()
	if what, rest := notREST(host); what != "" {
		if rest == "" {
			return "", what, wantEndpoint
		}
		return "", what, "use https://" + rest
	}
	right := "use https://" + host
	switch {
	case u.Scheme != "https":
		return "", "is not https", right
	case strings.Trim(u.Path, "/") != "":
		return "", "has a path", right
	case u.Port() != "" && u.Port() != "443":
		return "", "has a port that Braze does not use", right
	}
	return "https://" + host, "", ""
}

// notREST says what a host is that is no REST host, and which REST host is
// likely meant.
func notREST(host string) (what, rest string) {
	if restHost.MatchString(host) {
		return "", ""
	}
	if m := numberedBoard.FindStringSubmatch(host); m != nil {
		region := "iad-"
		if m[2] == "eu" {
			region = "fra-"
		}
		return "is a dashboard host, where people log in", "rest." + region + m[1] + ".braze." + m[2]
	}
	if m := namedBoard.FindStringSubmatch(host); m != nil {
		return "is a dashboard host, where people log in", "rest." + m[1]
	}
	if m := sdkHost.FindStringSubmatch(host); m != nil {
		return "is an SDK host, which apps talk to", "rest." + m[1]
	}
	switch {
	case strings.HasPrefix(host, "dashboard"):
		return "is a dashboard host, where people log in", ""
	case strings.HasPrefix(host, "sdk."):
		return "is an SDK host, which apps talk to", ""
	default:
		return "is not a Braze REST host (allow_any_endpoint: true takes any, for a simulator or a proxy)", ""
	}
}
