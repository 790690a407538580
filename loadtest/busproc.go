package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/keytrail/keytrail/eventlog"
	"github.com/keytrail/keytrail/server"
)

// busCmd is the bus under test. It says its address on standard output, and
// ends when standard input does, so that it never outlives the test.
type busCmd struct {
	Data string `required:""`
}

func (c *busCmd) Run(ctx context.Context) error {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	srv, err := server.Start(ctx, server.Config{
		Log:    eventlog.Config{Dir: c.Data},
		GRPC:   lis,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		return err
	}
	fmt.Println(lis.Addr())
	ended := make(chan struct{})
	go func() { // ends with the process at the latest
		defer close(ended)
		bufio.NewReader(os.Stdin).ReadByte() //nolint:errcheck // its end is what is waited for
	}()
	select {
	case <-ended:
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	return srv.Drain(drain)
}

// process is a bus under test in a process of its own.
type process struct {
	addr string
	cmd  *exec.Cmd
	done func() error
}

// startBus starts this program again as a bus, with a data folder of its own.
func startBus() (_ *process, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "keytrail-loadtest-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	cmd := exec.Command(self, "bus", "--data", dir)
	cmd.Stderr = os.Stderr
	// An interrupt is for the test, which then ends the bus.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the bus did not start: %w", err), in.Close(), cmd.Wait())
	}
	return &process{
		addr: strings.TrimSpace(line),
		cmd:  cmd,
		done: func() error { return errors.Join(in.Close(), cmd.Wait(), os.RemoveAll(dir)) },
	}, nil
}

// peakMemory is the largest resident size that a process has had, in bytes.
func peakMemory(pid int) (float64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
			return kb * 1024, err
		}
	}
	return 0, errors.New("no VmHWM in /proc/PID/status")
}
