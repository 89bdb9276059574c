import static java.nio.charset.StandardCharsets.UTF_8;

import io.etcd.jetcd.ByteSequence;
import io.etcd.jetcd.Election;
import io.etcd.jetcd.KeyValue;
import io.etcd.jetcd.support.Observers;
import io.etcd.jetcd.Watch;
import io.etcd.jetcd.election.CampaignResponse;
import io.etcd.jetcd.election.LeaderResponse;
import io.etcd.jetcd.kv.PutResponse;
import io.etcd.jetcd.lease.LeaseKeepAliveResponse;
import io.etcd.jetcd.lock.LockResponse;
import io.etcd.jetcd.options.GetOption;
import io.etcd.jetcd.options.PutOption;
import io.etcd.jetcd.options.WatchOption;
import io.etcd.jetcd.support.CloseableClient;
import io.etcd.jetcd.watch.WatchEvent;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Objects;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicBoolean;

/** The steps of ../run with jetcd. Its watches resume, and its leases are kept alive, by the library. */
public final class Client {
  private static final long PATIENCE_SECONDS = 30;
  private static final long LEASE_TTL = 6; // seconds, of the lease that survives the deaths
  private static io.etcd.jetcd.Client client;

  private interface Step {
    String run() throws Exception;
  }

  private static ByteSequence bytes(String text) {
    return ByteSequence.from(text, UTF_8);
  }

  private static <T> T await(CompletableFuture<T> future) throws Exception {
    return future.get(PATIENCE_SECONDS, TimeUnit.SECONDS);
  }

  private static void check(String what, Object expected, Object actual) {
    if (!Objects.equals(expected, actual)) {
      throw new IllegalStateException(what + ": expected " + expected + ", got " + actual);
    }
  }

  private static void waitUntil(String what, Callable<Boolean> fact) throws Exception {
    long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(PATIENCE_SECONDS);
    while (!fact.call()) {
      if (System.nanoTime() > deadline) {
        throw new IllegalStateException(what + ": not within " + PATIENCE_SECONDS + " s");
      }
      Thread.sleep(50);
    }
  }

  private static PutResponse put(String key, String value) throws Exception {
    return await(client.getKVClient().put(bytes(key), bytes(value)));
  }

  private static void put(String key, String value, long lease) throws Exception {
    await(client.getKVClient().put(bytes(key), bytes(value), PutOption.builder().withLeaseId(lease).build()));
  }

  /** Returns null if there is no such key. */
  private static String get(String key) throws Exception {
    List<KeyValue> kvs = await(client.getKVClient().get(bytes(key))).getKvs();
    return kvs.isEmpty() ? null : kvs.get(0).getValue().toString(UTF_8);
  }

  private static List<KeyValue> getPrefix(String prefix) throws Exception {
    return await(client.getKVClient().get(bytes(prefix), GetOption.builder().isPrefix(true).build())).getKvs();
  }

  private static long grant(long ttl) throws Exception {
    return await(client.getLeaseClient().grant(ttl)).getID();
  }

  /** The library reports an error each time its stream breaks, and goes on. It completes when the lease is lost. */
  private static CloseableClient keepAlive(long lease, List<String> losses) {
    return client.getLeaseClient().keepAlive(lease, Observers.<LeaseKeepAliveResponse>builder()
        .onError(error -> System.err.println(error)).onCompleted(() -> losses.add("completed")).build());
  }

  private static String putStep() throws Exception {
    long first = put("java/a", "1").getHeader().getRevision();
    check("revision of the next put", first + 1, put("java/a", "2").getHeader().getRevision());
    put("java/b", "3");
    return "";
  }

  private static String getStep() throws Exception {
    List<String> found = new ArrayList<>();
    for (KeyValue kv : getPrefix("java/")) {
      found.add(kv.getKey() + "=" + kv.getValue() + " v" + kv.getVersion());
    }
    check("prefix", Arrays.asList("java/a=2 v2", "java/b=3 v1"), found);
    check("missing key", null, get("java/none"));
    return "";
  }

  private static String watchStep() throws Exception {
    List<String> events = Collections.synchronizedList(new ArrayList<>());
    CompletableFuture<Void> created = new CompletableFuture<>();
    WatchOption option = WatchOption.builder().isPrefix(true).withCreateNotify(true).build();
    List<String> expected = new ArrayList<>();
    try (Watch.Watcher watcher = client.getWatchClient().watch(bytes("watch/"), option, response -> {
      created.complete(null);
      for (WatchEvent event : response.getEvents()) {
        events.add(event.getEventType() + " " + event.getKeyValue().getKey() + "=" + event.getKeyValue().getValue());
      }
    })) {
      await(created);
      for (int i = 0; i < 100; ++i) {
        String key = String.format("watch/%03d", i);
        put(key, Integer.toString(i));
        expected.add("PUT " + key + "=" + i);
      }
      await(client.getKVClient().delete(bytes("watch/000")));
      expected.add("DELETE watch/000=");
      waitUntil("101 events", () -> events.size() >= expected.size());
      check("events", expected, new ArrayList<>(events));
    }
    return "";
  }

  private static String leaseStep() throws Exception {
    long kept = grant(2);
    long left = grant(2);
    put("lease/kept", "1", kept);
    put("lease/left", "1", left);
    List<String> losses = Collections.synchronizedList(new ArrayList<>());
    try (CloseableClient alive = keepAlive(kept, losses)) {
      Thread.sleep(6000);
      check("key of the lease that is kept alive", "1", get("lease/kept"));
      check("losses", new ArrayList<String>(), losses);
    }
    waitUntil("expiry", () -> get("lease/left") == null);
    await(client.getLeaseClient().revoke(kept));
    check("key after the revocation", null, get("lease/kept"));
    return "";
  }

  private static String lockStep() throws Exception {
    ByteSequence name = bytes("lock");
    LockResponse first = await(client.getLockClient().lock(name, grant(20)));
    CompletableFuture<LockResponse> second = client.getLockClient().lock(name, grant(20));
    try {
      second.get(1, TimeUnit.SECONDS);
      throw new IllegalStateException("a second owner beside the first");
    } catch (TimeoutException expected) {
      // It waits.
    }
    await(client.getLockClient().unlock(first.getKey()));
    await(client.getLockClient().unlock(await(second).getKey()));
    return "";
  }

  private static String electionStep() throws Exception {
    Election election = client.getElectionClient();
    ByteSequence name = bytes("election");
    CampaignResponse first = await(election.campaign(name, grant(20), bytes("a")));
    Set<String> observed = Collections.synchronizedSet(new HashSet<>());
    election.observe(name, new Election.Listener() {
      @Override
      public void onNext(LeaderResponse response) {
        observed.add(response.getKv().getValue().toString(UTF_8));
      }

      @Override
      public void onError(Throwable error) {
        observed.add(error.toString());
      }

      @Override
      public void onCompleted() { }
    });
    waitUntil("the first leader's value", () -> observed.contains("a"));
    await(election.proclaim(first.getLeader(), bytes("A")));
    waitUntil("the proclaimed value", () -> observed.contains("A"));
    CompletableFuture<CampaignResponse> second = election.campaign(name, grant(20), bytes("b"));
    try {
      second.get(1, TimeUnit.SECONDS);
      throw new IllegalStateException("elected beside a leader");
    } catch (TimeoutException expected) {
      // It waits.
    }
    await(election.resign(first.getLeader()));
    CampaignResponse elected = await(second);
    check("next leader", "b", await(election.leader(name)).getKv().getValue().toString(UTF_8));
    await(election.resign(elected.getLeader()));
    return "";
  }

  private static long putPersistently(String key, String value) throws Exception {
    long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
    while (true) {
      try {
        return client.getKVClient().put(bytes(key), bytes(value)).get(5, TimeUnit.SECONDS).getHeader().getRevision();
      } catch (Exception error) {
        if (System.nanoTime() > deadline) {
          throw new IllegalStateException("no put was acknowledged for a minute: " + error);
        }
        Thread.sleep(100);
      }
    }
  }

  private static List<Long> putUntilDone() throws Exception {
    AtomicBoolean done = new AtomicBoolean();
    Thread reader = new Thread(() -> {
      try {
        System.in.read();
      } catch (java.io.IOException error) {
        System.err.println(error);
      }
      done.set(true);
    });
    reader.setDaemon(true);
    reader.start();
    long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(2 * LEASE_TTL);
    System.out.println("kill");
    List<Long> acknowledged = new ArrayList<>();
    while (!done.get() || System.nanoTime() < end) {
      int n = acknowledged.size();
      acknowledged.add(putPersistently("deaths/w" + n % 10, Integer.toString(n)));
      Thread.sleep(5);
    }
    return acknowledged;
  }

  private static String deathsStep() throws Exception {
    List<String> losses = Collections.synchronizedList(new ArrayList<>());
    long lease = grant(LEASE_TTL);
    CloseableClient alive = keepAlive(lease, losses);
    put("deaths/leased", "1", lease);
    LockResponse held = await(client.getLockClient().lock(bytes("held"), lease));
    long begin = put("deaths/begin", "1").getHeader().getRevision();
    List<Long> events = Collections.synchronizedList(new ArrayList<>());
    // The library reports an error each time the watch breaks, and then resumes it.
    List<String> breaks = Collections.synchronizedList(new ArrayList<>());
    WatchOption option = WatchOption.builder().isPrefix(true).withRevision(begin).build();
    Watch.Watcher watcher = client.getWatchClient().watch(bytes("deaths/w"), option,
        response -> response.getEvents().forEach(event -> events.add(event.getKeyValue().getModRevision())),
        error -> breaks.add(error.toString()));

    List<Long> acknowledged = putUntilDone();
    long last = acknowledged.get(acknowledged.size() - 1);
    waitUntil("the event of the last put", () -> events.contains(last));
    List<Long> seen = new ArrayList<>(events);
    check("strictly increasing revisions", new ArrayList<>(new TreeSet<>(seen)), seen);
    Set<Long> lost = new TreeSet<>(acknowledged);
    lost.removeAll(new HashSet<>(seen));
    check("acknowledged puts without event", Collections.emptySet(), lost);
    long versions = getPrefix("deaths/w").stream().mapToLong(KeyValue::getVersion).sum();
    check("events for each version of each key", versions, (long) seen.size());
    check("leased key", "1", get("deaths/leased"));
    check("losses of the lease", new ArrayList<String>(), losses);
    check("lock is held", "", get(held.getKey().toString(UTF_8)));
    await(client.getLockClient().unlock(held.getKey()));
    watcher.close();
    alive.close();
    return acknowledged.size() + " puts, " + seen.size() + " events, " + breaks.size() + " broken watches";
  }

  private static void run(String name, Step step) {
    try {
      String detail = step.run();
      System.out.println("ok " + name + (detail.isEmpty() ? "" : ": " + detail));
    } catch (Exception error) {
      System.out.println("fail " + name + ": " + error);
      System.exit(1);
    }
  }

  /** Takes the members' endpoints, HOST:PORT each. */
  public static void main(String[] endpoints) {
    String[] urls = Arrays.stream(endpoints).map(endpoint -> "http://" + endpoint).toArray(String[]::new);
    client = io.etcd.jetcd.Client.builder().endpoints(urls).build();
    run("put", Client::putStep);
    run("get", Client::getStep);
    run("watch", Client::watchStep);
    run("lease", Client::leaseStep);
    run("lock", Client::lockStep);
    run("election", Client::electionStep);
    run("deaths", Client::deathsStep);
    System.exit(0);
  }
}
