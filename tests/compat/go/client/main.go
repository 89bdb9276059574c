// The program client runs the steps of ../../clients/run with clientv3. Its watches resume, and its
// sessions are kept alive, by the library.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.uber.org/zap"
)

const (
	patience = 30 * time.Second
	writers  = 4 // while members die
	leaseTTL = 6 // seconds, of the lease that survives the deaths
)

var (
	background = context.Background()
	client     *clientv3.Client
)

func check(what string, expected, actual any) error {
	if !reflect.DeepEqual(expected, actual) {
		return fmt.Errorf("%s: expected %v, got %v", what, expected, actual)
	}
	return nil
}

func waitUntil(what string, fact func() bool) error {
	for deadline := time.Now().Add(patience); !fact(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: not within %v", what, patience)
		}
	}
	return nil
}

// valueOf returns the value of a key, or "" if there is none.
func valueOf(key string) (string, error) {
	ctx, cancel := context.WithTimeout(background, patience)
	defer cancel()
	response, err := client.Get(ctx, key)
	if err != nil || len(response.Kvs) == 0 {
		return "", err
	}
	return string(response.Kvs[0].Value), nil
}

func checkValue(what, key, expected string) error {
	value, err := valueOf(key)
	return errors.Join(err, check(what, expected, value))
}

func put() (string, error) {
	first, err := client.Put(background, "go/a", "1")
	if err != nil {
		return "", err
	}
	second, err := client.Put(background, "go/a", "2")
	if err != nil {
		return "", err
	}
	_, err = client.Put(background, "go/b", "3")
	return "", errors.Join(err, check("revision of the next put", first.Header.Revision+1, second.Header.Revision))
}

func get() (string, error) {
	response, err := client.Get(background, "go/", clientv3.WithPrefix())
	if err != nil {
		return "", err
	}
	var found []string
	for _, kv := range response.Kvs {
		found = append(found, fmt.Sprintf("%s=%s v%d", kv.Key, kv.Value, kv.Version))
	}
	return "", errors.Join(check("prefix", []string{"go/a=2 v2", "go/b=3 v1"}, found),
		checkValue("missing key", "go/none", ""))
}

func watch() (string, error) {
	ctx, cancel := context.WithTimeout(background, patience)
	defer cancel()
	responses := client.Watch(ctx, "watch/", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	if created := <-responses; !created.Created {
		return "", fmt.Errorf("the watch was not created: %v", created.Err())
	}
	var expected, got []string
	for i := range 100 {
		key := fmt.Sprintf("watch/%03d", i)
		if _, err := client.Put(ctx, key, fmt.Sprint(i)); err != nil {
			return "", err
		}
		expected = append(expected, fmt.Sprintf("PUT %s=%d", key, i))
	}
	if _, err := client.Delete(ctx, "watch/000"); err != nil {
		return "", err
	}
	expected = append(expected, "DELETE watch/000=")
	for len(got) < len(expected) {
		response, open := <-responses
		if !open || response.Err() != nil {
			return "", fmt.Errorf("the watch ended: %w", response.Err())
		}
		for _, event := range response.Events {
			got = append(got, fmt.Sprintf("%s %s=%s", event.Type, event.Kv.Key, event.Kv.Value))
		}
	}
	return "", check("events", expected, got)
}

func lease() (string, error) {
	kept, err := concurrency.NewSession(client, concurrency.WithTTL(2))
	if err != nil {
		return "", err
	}
	left, err := client.Grant(background, 2)
	if err != nil {
		return "", err
	}
	_, err1 := client.Put(background, "lease/kept", "1", clientv3.WithLease(kept.Lease()))
	_, err2 := client.Put(background, "lease/left", "1", clientv3.WithLease(left.ID))
	if err := errors.Join(err1, err2); err != nil {
		return "", err
	}
	time.Sleep(6 * time.Second)
	err = errors.Join(checkValue("key of the lease that is kept alive", "lease/kept", "1"),
		waitUntil("expiry", func() bool { value, err := valueOf("lease/left"); return value == "" && err == nil }),
		kept.Close())
	return "", errors.Join(err, checkValue("key after the revocation", "lease/kept", ""))
}

func lock() (string, error) {
	first, err1 := concurrency.NewSession(client, concurrency.WithTTL(10))
	second, err2 := concurrency.NewSession(client, concurrency.WithTTL(10))
	if err := errors.Join(err1, err2); err != nil {
		return "", err
	}
	defer first.Close()
	defer second.Close()
	a, b := concurrency.NewMutex(first, "lock"), concurrency.NewMutex(second, "lock")
	if err := a.Lock(background); err != nil {
		return "", err
	}
	if err := b.TryLock(background); !errors.Is(err, concurrency.ErrLocked) {
		return "", fmt.Errorf("a taken lock: expected %v, got %v", concurrency.ErrLocked, err)
	}
	locked := make(chan error, 1)
	go func() { locked <- b.Lock(background) }()
	select {
	case err := <-locked:
		return "", fmt.Errorf("a second owner beside the first: %v", err)
	case <-time.After(time.Second):
	}
	if err := a.Unlock(background); err != nil {
		return "", err
	}
	if err := <-locked; err != nil {
		return "", err
	}
	return "", b.Unlock(background)
}

func election() (string, error) {
	first, err1 := concurrency.NewSession(client, concurrency.WithTTL(10))
	second, err2 := concurrency.NewSession(client, concurrency.WithTTL(10))
	if err := errors.Join(err1, err2); err != nil {
		return "", err
	}
	defer first.Close()
	defer second.Close()
	ctx, cancel := context.WithTimeout(background, patience)
	defer cancel()
	a, b := concurrency.NewElection(first, "election"), concurrency.NewElection(second, "election")
	if err := a.Campaign(ctx, "a"); err != nil {
		return "", err
	}
	observed := b.Observe(ctx)
	elected := make(chan error, 1)
	go func() { elected <- b.Campaign(ctx, "b") }()
	if err := a.Proclaim(ctx, "A"); err != nil {
		return "", err
	}
	for value := ""; value != "A"; {
		response, open := <-observed
		if !open {
			return "", errors.New("the observation ended before the proclaimed value")
		}
		value = string(response.Kvs[0].Value)
	}
	select {
	case err := <-elected:
		return "", fmt.Errorf("elected beside a leader: %v", err)
	case <-time.After(time.Second):
	}
	if err := a.Resign(ctx); err != nil {
		return "", err
	}
	if err := <-elected; err != nil {
		return "", err
	}
	leader, err := b.Leader(ctx)
	if err != nil {
		return "", err
	}
	return "", errors.Join(check("next leader", "b", string(leader.Kvs[0].Value)), b.Resign(ctx))
}

// recorder collects the revisions of the events of a watch.
type recorder struct {
	mutex     sync.Mutex
	revisions []int64
	err       error
}

func (r *recorder) run(responses clientv3.WatchChan) {
	for response := range responses {
		r.mutex.Lock()
		r.err = errors.Join(r.err, response.Err())
		for _, event := range response.Events {
			r.revisions = append(r.revisions, event.Kv.ModRevision)
		}
		r.mutex.Unlock()
	}
}

func (r *recorder) seen() ([]int64, error) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return slices.Clone(r.revisions), r.err
}

// putPersistently repeats a put until it is acknowledged.
func putPersistently(key, value string) (int64, error) {
	deadline := time.Now().Add(time.Minute)
	for {
		ctx, cancel := context.WithTimeout(background, 5*time.Second)
		response, err := client.Put(ctx, key, value)
		cancel()
		if err == nil {
			return response.Header.Revision, nil
		}
		if time.Now().After(deadline) {
			return 0, fmt.Errorf("no put was acknowledged for a minute: %w", err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// putUntilDone asks for the deaths. Several writers put until they are done and the lease would have
// expired. It returns the revisions of the puts.
func putUntilDone() ([]int64, error) {
	var done atomic.Bool
	go func() { bufio.NewScanner(os.Stdin).Scan(); done.Store(true) }()
	end := time.Now().Add(2 * leaseTTL * time.Second)
	fmt.Println("kill")
	var (
		group        sync.WaitGroup
		mutex        sync.Mutex
		acknowledged []int64
		failure      error
	)
	for writer := range writers {
		group.Go(func() {
			for !done.Load() || time.Now().Before(end) {
				revision, err := putPersistently(fmt.Sprintf("deaths/w%d", writer), "x")
				mutex.Lock()
				acknowledged = append(acknowledged, revision)
				failure = errors.Join(failure, err)
				mutex.Unlock()
				if err != nil {
					return
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	group.Wait()
	return acknowledged, failure
}

func checkEvents(r *recorder, acknowledged []int64) (int, error) {
	last := slices.Max(acknowledged)
	if err := waitUntil("the event of the last put", func() bool {
		revisions, err := r.seen()
		return err != nil || len(revisions) > 0 && revisions[len(revisions)-1] >= last
	}); err != nil {
		return 0, err
	}
	revisions, err := r.seen()
	if err != nil {
		return 0, fmt.Errorf("the watch was cancelled: %w", err)
	}
	seen := map[int64]bool{}
	for i, revision := range revisions {
		seen[revision] = true
		if i > 0 && revision <= revisions[i-1] {
			return 0, fmt.Errorf("the event of revision %d follows that of %d", revision, revisions[i-1])
		}
	}
	for _, revision := range acknowledged {
		if !seen[revision] {
			return 0, fmt.Errorf("the put at revision %d has no event", revision)
		}
	}
	response, err := client.Get(background, "deaths/w", clientv3.WithPrefix())
	if err != nil {
		return 0, err
	}
	var versions int64
	for _, kv := range response.Kvs {
		versions += kv.Version
	}
	return len(revisions), check("events for each version of each key", versions, int64(len(revisions)))
}

func deaths() (string, error) {
	session, err := concurrency.NewSession(client, concurrency.WithTTL(leaseTTL))
	if err != nil {
		return "", err
	}
	mutex := concurrency.NewMutex(session, "held")
	if err := mutex.Lock(background); err != nil {
		return "", err
	}
	begin, err := client.Put(background, "deaths/leased", "1", clientv3.WithLease(session.Lease()))
	if err != nil {
		return "", err
	}
	r := &recorder{}
	ctx, cancel := context.WithCancel(background)
	defer cancel()
	go r.run(client.Watch(ctx, "deaths/w", clientv3.WithPrefix(), clientv3.WithRev(begin.Header.Revision)))

	acknowledged, err := putUntilDone()
	if err != nil {
		return "", err
	}
	events, err := checkEvents(r, acknowledged)
	if err != nil {
		return "", err
	}
	select {
	case <-session.Done():
		return "", errors.New("the session was lost")
	default:
	}
	return fmt.Sprintf("%d puts, %d events", len(acknowledged), events),
		errors.Join(checkValue("leased key", "deaths/leased", "1"), mutex.Unlock(background), session.Close())
}

func main() {
	var err error
	client, err = clientv3.New(clientv3.Config{
		Endpoints: os.Args[1:], DialTimeout: 5 * time.Second, Logger: zap.NewNop()})
	if err != nil {
		fmt.Printf("fail put: %v\n", err)
		os.Exit(1)
	}
	for _, step := range []struct {
		name string
		run  func() (string, error)
	}{{"put", put}, {"get", get}, {"watch", watch}, {"lease", lease}, {"lock", lock},
		{"election", election}, {"deaths", deaths}} {
		detail, err := step.run()
		if err != nil {
			fmt.Printf("fail %s: %v\n", step.name, err)
			os.Exit(1)
		}
		if detail != "" {
			detail = ": " + detail
		}
		fmt.Printf("ok %s%s\n", step.name, detail)
	}
}
