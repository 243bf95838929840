//go:build unix

package main

import (
	"os"
	"syscall"
)

// lock keeps a second demo out of the folder for as long as the file is open:
// two brokers on one log would spoil it.
func lock(f *os.File) error {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}
