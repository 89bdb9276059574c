package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

const (
	memberCount = 3
	// How long the cluster may take to elect a leader. Its own timeout is one to two seconds.
	leaderDeadline = 30 * time.Second
	pollInterval   = 50 * time.Millisecond
)

// member is one raftkv-server process, and a client that only asks this member.
type member struct {
	name     string
	endpoint string
	process  *exec.Cmd // nil while it is killed
	client   *clientv3.Client
}

// cluster runs three members on free ports of 127.0.0.1. Their data and logs are in dir. Its methods
// are called from the main goroutine only.
type cluster struct {
	server  string // path of raftkv-server
	dir     string
	members [memberCount]member
}

// newCluster starts the members and waits for a leader. If it fails, no process is left.
func newCluster(ctx context.Context, server, dir string) (*cluster, error) {
	c := &cluster{server: server, dir: dir}
	if err := c.startAll(ctx); err != nil {
		c.stop()
		return nil, err
	}
	return c, nil
}

func (c *cluster) startAll(ctx context.Context) error {
	ports, err := freePorts(2 * memberCount)
	if err != nil {
		return err
	}
	config := "[cluster]\nname = \"compat\"\n"
	for i := range c.members {
		m := &c.members[i]
		m.name = fmt.Sprintf("n%d", i+1)
		m.endpoint = fmt.Sprintf("127.0.0.1:%d", ports[2*i])
		config += fmt.Sprintf("\n[[member]]\nname = %q\nclient_url = \"http://%s\"\n"+
			"peer_url = \"http://127.0.0.1:%d\"\ndata_dir = %q\n",
			m.name, m.endpoint, ports[2*i+1], filepath.Join(c.dir, m.name))
		if m.client, err = newClient(m.endpoint); err != nil {
			return err
		}
	}
	if err := os.WriteFile(c.configPath(), []byte(config), 0o600); err != nil {
		return err
	}
	for i := range c.members {
		if err := c.start(&c.members[i]); err != nil {
			return err
		}
	}
	_, err = c.waitForLeader(ctx)
	return err
}

func (c *cluster) configPath() string { return filepath.Join(c.dir, "cluster.toml") }

// start starts a member that does not run. Its log is appended to dir/NAME.log.
func (c *cluster) start(m *member) error {
	log, err := os.OpenFile(filepath.Join(c.dir, m.name+".log"),
		os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	process := exec.Command(c.server, "-c", c.configPath(), "-n", m.name)
	process.Stdout, process.Stderr = log, log
	process.SysProcAttr = &syscall.SysProcAttr{
		Setpgid:   true,            // Ctrl-C reaches only this program, which then stops the members.
		Pdeathsig: syscall.SIGKILL, // The members end even if this program is killed.
	}
	if err := process.Start(); err != nil {
		return fmt.Errorf("start %s: %w", m.name, err)
	}
	m.process = process
	return nil
}

// kill ends a member with SIGKILL, which also ends a stopped process, and waits for its end.
func (c *cluster) kill(m *member) {
	if m.process == nil {
		return
	}
	// Both return an error: the process may have ended already, and it did not exit with status 0.
	_ = m.process.Process.Kill()
	_ = m.process.Wait()
	m.process = nil
}

// stop ends all members.
func (c *cluster) stop() {
	for i := range c.members {
		c.kill(&c.members[i])
		if client := c.members[i].client; client != nil {
			_ = client.Close() // It returns the error of its context, which is always cancelled here.
		}
	}
}

func (c *cluster) endpoints() []string {
	var all []string
	for i := range c.members {
		all = append(all, c.members[i].endpoint)
	}
	return all
}

// leaderKnownBy asks a member which member leads. It returns the leader's id (0: none), and whether
// it is the member itself.
func (c *cluster) leaderKnownBy(ctx context.Context, m *member) (id uint64, self bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	status, err := m.client.Status(ctx, m.endpoint)
	if err != nil {
		return 0, false, err
	}
	return status.Leader, status.Leader == status.Header.MemberId, nil
}

// waitForLeader returns the leader when every running member knows the same one.
func (c *cluster) waitForLeader(ctx context.Context) (*member, error) {
	var leader *member
	err := waitUntil(ctx, "a leader that every running member knows", func() bool {
		leader = nil
		var agreed uint64
		for i := range c.members {
			m := &c.members[i]
			if m.process == nil {
				continue
			}
			id, self, err := c.leaderKnownBy(ctx, m)
			if err != nil || id == 0 || (agreed != 0 && id != agreed) {
				return false
			}
			agreed = id
			if self {
				leader = m
			}
		}
		return leader != nil
	})
	return leader, err
}

func waitUntil(ctx context.Context, what string, fact func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, leaderDeadline)
	defer cancel()
	for !fact() {
		if err := pause(ctx, pollInterval); err != nil {
			return fmt.Errorf("waiting for %s: %w", what, err)
		}
	}
	return nil
}

// pause returns after a duration, or earlier with an error when ctx ends.
func pause(ctx context.Context, duration time.Duration) error {
	select {
	case <-time.After(duration):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// newClient makes a client that does not log, because failing calls are part of the checks.
func newClient(endpoints ...string) (*clientv3.Client, error) {
	client, err := clientv3.New(clientv3.Config{Endpoints: endpoints, Logger: zap.NewNop()})
	if err != nil {
		return nil, fmt.Errorf("client for %s: %w", strings.Join(endpoints, ","), err)
	}
	return client, nil
}

// freePorts returns ports on which nobody listens. They are below the range from which Linux takes
// the ports of outgoing connections, so that a restarted member finds its port free.
func freePorts(count int) ([]int, error) {
	var ports []int
	for range 1000 {
		port := 20000 + rand.IntN(10000)
		// Kept open until all ports are found, so that none is found twice.
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		defer listener.Close()
		if ports = append(ports, port); len(ports) == count {
			return ports, nil
		}
	}
	return nil, errors.New("no free ports between 20000 and 29999")
}
