package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	workers = 48
	// Check 1: each worker puts at least this many keys, and goes on until the last restart.
	minPutsOfWorker = 24
	leaderKills     = 5
	// Check 2.
	gonePutsOfWorker = 8
	goneDeadline     = 300 * time.Millisecond
	// How long to wait for writes that a member may still carry out once there is a leader.
	settleTime = time.Second
)

// putter puts distinct keys under one prefix, once each, and counts the results.
type putter struct {
	client   *clientv3.Client
	prefix   string
	deadline func() time.Duration // of the next put

	sent   atomic.Int64
	gaveUp atomic.Int64 // puts that ended by their deadline
	mutex  sync.Mutex
	acked  map[string]bool
}

func newPutter(client *clientv3.Client, prefix string, deadline func() time.Duration) *putter {
	return &putter{client: client, prefix: prefix, deadline: deadline, acked: map[string]bool{}}
}

func (p *putter) put(ctx context.Context) {
	key := fmt.Sprintf("%s%06d", p.prefix, p.sent.Add(1))
	ctx, cancel := context.WithTimeout(ctx, p.deadline())
	defer cancel()
	_, err := p.client.Put(ctx, key, "x")
	switch {
	case err == nil:
		p.mutex.Lock()
		p.acked[key] = true
		p.mutex.Unlock()
	case errors.Is(err, context.DeadlineExceeded), status.Code(err) == codes.DeadlineExceeded:
		p.gaveUp.Add(1)
	}
}

// startWorkers runs `work` once in each worker. Wait on the returned group returns when all of them
// have ended.
func startWorkers(work func()) *sync.WaitGroup {
	var group sync.WaitGroup
	for range workers {
		group.Go(work)
	}
	return &group
}

// versions reads the version of every key with a prefix, linearizably.
func versions(ctx context.Context, client *clientv3.Client, prefix string) (map[string]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, leaderDeadline)
	defer cancel()
	response, err := client.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return nil, fmt.Errorf("read the keys: %w", err)
	}
	found := make(map[string]int64, len(response.Kvs))
	for _, kv := range response.Kvs {
		found[string(kv.Key)] = kv.Version
	}
	return found, nil
}

// sample prints the first few of the keys.
func sample(keys []string) string {
	sort.Strings(keys)
	if len(keys) > 5 {
		return strings.Join(keys[:5], " ") + " ..."
	}
	return strings.Join(keys, " ")
}

// checkNoWriteTwice puts distinct keys once each, with deadlines that are shorter than an election,
// while the leader is killed and restarted. No key may have been written twice.
//
// clientv3 repeats a Put whose answer is DEADLINE_EXCEEDED before its own deadline. So a server that
// ends a call too early causes a second write of the same key.
func checkNoWriteTwice(ctx context.Context, c *cluster) (string, error) {
	client, err := newClient(c.endpoints()...)
	if err != nil {
		return "", err
	}
	defer client.Close()
	p := newPutter(client, "twice/", func() time.Duration {
		return 80*time.Millisecond + rand.N(60*time.Millisecond)
	})
	var restartsDone atomic.Bool
	group := startWorkers(func() {
		for puts := 0; puts < minPutsOfWorker || !restartsDone.Load(); puts++ {
			p.put(ctx)
			if pause(ctx, 10*time.Millisecond) != nil {
				return
			}
		}
	})
	err = killLeaders(ctx, c)
	restartsDone.Store(true)
	group.Wait()
	if err != nil {
		return "", err
	}
	if err := settle(ctx, c); err != nil {
		return "", err
	}
	found, err := versions(ctx, client, p.prefix)
	if err != nil {
		return "", err
	}

	var twice, lost []string
	for key, version := range found {
		if version > 1 {
			twice = append(twice, key)
		}
	}
	for key := range p.acked {
		if found[key] == 0 {
			lost = append(lost, key)
		}
	}
	counts := fmt.Sprintf("%d puts, %d acknowledged, %d gave up, %d kills of the leader",
		p.sent.Load(), len(p.acked), p.gaveUp.Load(), leaderKills)
	switch {
	case len(twice) > 0:
		return "", fmt.Errorf("%d keys were written twice (%s): %s", len(twice), counts, sample(twice))
	case len(lost) > 0:
		return "", fmt.Errorf("%d acknowledged keys are lost (%s): %s", len(lost), counts, sample(lost))
	case p.gaveUp.Load() < leaderKills || len(p.acked) < workers:
		return "", fmt.Errorf("too few puts gave up or were acknowledged to show anything (%s)", counts)
	}
	return counts, nil
}

// killLeaders kills the leader several times, each time after a moment of normal work. It restarts
// the killed member when the others have a new leader.
func killLeaders(ctx context.Context, c *cluster) error {
	for range leaderKills {
		if err := pause(ctx, 300*time.Millisecond); err != nil {
			return err
		}
		leader, err := c.waitForLeader(ctx)
		if err != nil {
			return err
		}
		c.kill(leader)
		if _, err := c.waitForLeader(ctx); err != nil {
			return err
		}
		if err := c.start(leader); err != nil {
			return err
		}
	}
	return nil
}

// settle waits until the cluster has a leader and has carried out what waited for one.
func settle(ctx context.Context, c *cluster) error {
	if _, err := c.waitForLeader(ctx); err != nil {
		return err
	}
	return pause(ctx, settleTime)
}

// checkGoneWritersDropped sends puts to a member that knows that there is no leader. Their callers
// give up. When there is a leader again, none of these keys may appear.
func checkGoneWritersDropped(ctx context.Context, c *cluster) (string, error) {
	leader, err := c.waitForLeader(ctx)
	if err != nil {
		return "", err
	}
	var alone *member
	for i := range c.members {
		if m := &c.members[i]; m != leader && alone == nil {
			alone = m
			continue
		}
		if err := c.members[i].process.Process.Signal(syscall.SIGSTOP); err != nil {
			return "", err
		}
	}
	err = waitUntil(ctx, "a member that knows no leader", func() bool {
		id, _, err := c.leaderKnownBy(ctx, alone)
		return err == nil && id == 0
	})
	if err != nil {
		return "", err
	}

	p := newPutter(alone.client, "gone/", func() time.Duration { return goneDeadline })
	startWorkers(func() {
		for range gonePutsOfWorker {
			p.put(ctx)
		}
	}).Wait()
	// The member learns a little later than the last callers themselves that they have gone.
	if err := pause(ctx, goneDeadline); err != nil {
		return "", err
	}

	for i := range c.members {
		if err := c.members[i].process.Process.Signal(syscall.SIGCONT); err != nil {
			return "", err
		}
	}
	if err := settle(ctx, c); err != nil {
		return "", err
	}
	found, err := versions(ctx, alone.client, p.prefix)
	if err != nil {
		return "", err
	}
	counts := fmt.Sprintf("%d puts without a leader, %d gave up", p.sent.Load(), p.gaveUp.Load())
	switch {
	case len(found) > 0:
		keys := make([]string, 0, len(found))
		for key := range found {
			keys = append(keys, key)
		}
		return "", fmt.Errorf("%d keys were written after their callers had gone (%s): %s",
			len(found), counts, sample(keys))
	case p.gaveUp.Load() != p.sent.Load():
		return "", fmt.Errorf("not every put waited until its deadline (%s)", counts)
	}
	return counts, nil
}
