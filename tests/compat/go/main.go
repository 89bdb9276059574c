// The program compat checks three raftkv-server processes with etcd's own Go client, clientv3. The
// checks concern deadlines of writes, which clientv3 treats in its own way: see checks.go.
//
// It prints one line for each check, and exits with status 1 if one failed. It then keeps the
// members' logs and data.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// The checks take about 30 seconds. This ends a run that hangs.
const runDeadline = 5 * time.Minute

var checks = []struct {
	name string
	run  func(context.Context, *cluster) (string, error)
}{
	{"no write twice", checkNoWriteTwice},
	{"gone writers are dropped", checkGoneWritersDropped},
}

func run(server string) error {
	ctx, stopSignals := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stopSignals()
	ctx, cancel := context.WithTimeout(ctx, runDeadline)
	defer cancel()

	dir, err := os.MkdirTemp("", "raftkv-compat-")
	if err != nil {
		return err
	}
	failed := false
	for i, check := range checks {
		result, err := runCheck(ctx, server, filepath.Join(dir, fmt.Sprint(i+1)), check.run)
		if err != nil {
			fmt.Printf("FAIL  %s: %v\n", check.name, err)
			failed = true
		} else {
			fmt.Printf("ok    %s: %s\n", check.name, result)
		}
		if ctx.Err() != nil {
			break // Interrupted, or out of time: the next check could not run.
		}
	}
	if failed {
		return fmt.Errorf("logs and data of the members are in %s", dir)
	}
	return os.RemoveAll(dir)
}

// runCheck runs one check with a new cluster, and stops its processes, however the check ends.
func runCheck(ctx context.Context, server, dir string,
	check func(context.Context, *cluster) (string, error)) (string, error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	c, err := newCluster(ctx, server, dir)
	if err != nil {
		return "", err
	}
	defer c.stop()
	return check(ctx, c)
}

func main() {
	// The members get a signal when the thread that started them ends, so this one must stay.
	runtime.LockOSThread()
	server := flag.String("server", os.Getenv("RAFTKV_SERVER"),
		"path of raftkv-server; default: the environment variable RAFTKV_SERVER")
	flag.Parse()
	err := errors.New("give the path of raftkv-server with -server")
	if *server != "" {
		err = run(*server)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "compat: %v\n", err)
		os.Exit(1)
	}
}
