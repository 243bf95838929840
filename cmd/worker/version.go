package main

import (
	"cmp"
	"fmt"
	"runtime/debug"
)

type versionCmd struct{}

// Help says more than the one line.
func (versionCmd) Help() string {
	return `The version, the commit it was built from when the build knew it, and the Go version.

Example: cohortsync version`
}

// Run prints one line.
func (versionCmd) Run(p process) error {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	_, err := fmt.Fprintln(p.stdout, describe(p.version, info))
	return err
}

// versionOf prefers the version that the linker was given over the module's.
func versionOf(version string, info *debug.BuildInfo) string {
	return cmp.Or(version, info.Main.Version, "(devel)")
}

// built is the version of this process's binary.
func (p process) built() string {
	info, _ := debug.ReadBuildInfo()
	return versionOf(p.version, cmp.Or(info, &debug.BuildInfo{}))
}

// describe says all that is known in one line.
func describe(version string, info *debug.BuildInfo) string {
	line := "cohortsync " + versionOf(version, info)
	settings := make(map[string]string)
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	if commit := settings["vcs.revision"]; commit != "" {
		line += " " + commit
		if settings["vcs.modified"] == "true" {
			line += " (modified)"
		}
	}
	if info.GoVersion != "" {
		line += " " + info.GoVersion
	}
	return line
}
