package kafkatest

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

// Tests are a package's tests, as *testing.M is.
type Tests interface{ Run() int }

// Main is for TestMain. Where the environment asks for a container it runs the
// tests on one that they share, and they find its address in the environment.
func Main(tests Tests) Tests {
	if os.Getenv(whichKafka) != inContainer {
		return tests
	}
	return contained{tests}
}

// contained are tests that run on a container.
type contained struct{ Tests }

// Run implements Tests.
func (c contained) Run() int {
	b, err := startBox()
	if err != nil {
		fmt.Fprintln(os.Stderr, "starting a container for the tests:", err)
		return 1
	}
	if err := os.Setenv(whichKafka, b.address); err != nil {
		fmt.Fprintln(os.Stderr, "telling the tests of their container:", err)
		return 1
	}
	code := c.Tests.Run()
	if err := b.stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stopping the tests' container:", err)
		return max(code, 1)
	}
	return code
}

// box is the process that holds the container. It ends with its input, and so
// with this process, however that ends. It is a process of its own, too,
// because a Docker client is more than the rest of a test's binary.
type box struct {
	address string
	cmd     *exec.Cmd
	input   io.Closer
}

func startBox() (*box, error) {
	cmd := exec.Command("go", "run", "cohortsync/internal/kafkatest/incontainer") //nolint:noctx // Its input ends it.
	cmd.Stderr = os.Stderr
	input, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	b := &box{cmd: cmd, input: input}
	line, err := bufio.NewReader(output).ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("it has told no address: %w", b.stop())
	}
	b.address = strings.TrimSpace(line)
	return b, nil
}

func (b *box) stop() error {
	_ = b.input.Close() // It may have ended by itself.
	return b.cmd.Wait()
}
