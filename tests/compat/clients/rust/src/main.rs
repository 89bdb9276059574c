//! The steps of ../../run with the crate etcd-client. It balances calls over the members, but does
//! not resume watches and does not repeat keep-alives, so the program does these as its users do.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use etcd_client::{
    Client, EventType, GetOptions, LockOptions, ProclaimOptions, PutOptions, ResignOptions, WatchOptions,
};
use tokio::io::AsyncReadExt;
use tokio::time::{sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(30);
/// In seconds, of the lease that survives the deaths.
const LEASE_TTL: i64 = 6;

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Outcome = Result<String, Failure>;

fn check<T: PartialEq + std::fmt::Debug>(what: &str, expected: T, actual: T) -> Result<(), Failure> {
    if expected == actual {
        return Ok(());
    }
    Err(format!("{what}: expected {expected:?}, got {actual:?}").into())
}

/// The value of a key, or None if there is no such key.
async fn value_of(client: &mut Client, key: &str) -> Result<Option<String>, Failure> {
    let response = client.get(key, None).await?;
    Ok(match response.kvs().first() {
        Some(kv) => Some(kv.value_str()?.to_string()),
        None => None,
    })
}

async fn grant(client: &mut Client, ttl: i64) -> Result<i64, Failure> {
    Ok(client.lease_grant(ttl, None).await?.id())
}

async fn put_with_lease(client: &mut Client, key: &str, lease: i64) -> Result<i64, Failure> {
    let response = client.put(key, "1", Some(PutOptions::new().with_lease(lease))).await?;
    Ok(response.header().ok_or("no header")?.revision())
}

async fn put(mut client: Client) -> Outcome {
    let first = client.put("rust/a", "1", None).await?;
    let second = client.put("rust/a", "2", None).await?;
    client.put("rust/b", "3", None).await?;
    check(
        "revision of the next put",
        first.header().ok_or("no header")?.revision() + 1,
        second.header().ok_or("no header")?.revision(),
    )?;
    Ok(String::new())
}

async fn get(mut client: Client) -> Outcome {
    let response = client.get("rust/", Some(GetOptions::new().with_prefix())).await?;
    let mut found = Vec::new();
    for kv in response.kvs() {
        found.push(format!("{}={} v{}", kv.key_str()?, kv.value_str()?, kv.version()));
    }
    check("prefix", vec!["rust/a=2 v2".to_string(), "rust/b=3 v1".to_string()], found)?;
    check("missing key", None, value_of(&mut client, "rust/none").await?)?;
    Ok(String::new())
}

async fn watch(mut client: Client) -> Outcome {
    let mut stream = client.watch("watch/", Some(WatchOptions::new().with_prefix())).await?;
    let created = timeout(PATIENCE, stream.message()).await??.ok_or("the watch ended")?;
    check("created", true, created.created())?;
    let mut expected = Vec::new();
    for i in 0..100 {
        let key = format!("watch/{i:03}");
        client.put(key.as_str(), i.to_string(), None).await?;
        expected.push(format!("put {key}={i}"));
    }
    client.delete("watch/000", None).await?;
    expected.push("delete watch/000=".to_string());
    let mut events = Vec::new();
    while events.len() < expected.len() {
        let response = timeout(PATIENCE, stream.message()).await??.ok_or("the watch ended")?;
        for event in response.events() {
            let kv = event.kv().ok_or("no kv")?;
            let kind = if event.event_type() == EventType::Put { "put" } else { "delete" };
            events.push(format!("{kind} {}={}", kv.key_str()?, kv.value_str()?));
        }
    }
    check("events", expected, events)?;
    Ok(String::new())
}

async fn lease(mut client: Client) -> Outcome {
    let kept = grant(&mut client, 2).await?;
    let left = grant(&mut client, 2).await?;
    put_with_lease(&mut client, "lease/kept", kept).await?;
    put_with_lease(&mut client, "lease/left", left).await?;
    let (mut keeper, mut answers) = client.lease_keep_alive(kept).await?;
    for _ in 0..12 {
        keeper.keep_alive().await?;
        let answer = timeout(PATIENCE, answers.message()).await??.ok_or("the keep-alive ended")?;
        check("renewed TTL", 2, answer.ttl())?;
        sleep(Duration::from_millis(500)).await;
    }
    let one = Some("1".to_string());
    check("key of the lease that is kept alive", one, value_of(&mut client, "lease/kept").await?)?;
    let deadline = Instant::now() + PATIENCE;
    while value_of(&mut client, "lease/left").await?.is_some() {
        if Instant::now() > deadline {
            return Err("expiry: not within 30 s".into());
        }
        sleep(Duration::from_millis(50)).await;
    }
    client.lease_revoke(kept).await?;
    check("key after the revocation", None, value_of(&mut client, "lease/kept").await?)?;
    Ok(String::new())
}

/// Checks that a call waits for a second.
async fn check_waits<T>(what: &str, call: impl Future<Output = T> + Unpin) -> Result<(), Failure> {
    match timeout(Duration::from_secs(1), call).await {
        Ok(_) => Err(format!("{what}: it did not wait").into()),
        Err(_) => Ok(()),
    }
}

async fn lock(mut client: Client) -> Outcome {
    let options = LockOptions::new().with_lease(grant(&mut client, 20).await?);
    let first = client.lock("lock", Some(options)).await?;
    let options = LockOptions::new().with_lease(grant(&mut client, 20).await?);
    let mut other = client.clone();
    let mut second = Box::pin(other.lock("lock", Some(options)));
    check_waits("a second owner", &mut second).await?;
    client.unlock(first.key()).await?;
    let second = timeout(PATIENCE, second).await??;
    client.unlock(second.key()).await?;
    Ok(String::new())
}

async fn election(mut client: Client) -> Outcome {
    let lease = grant(&mut client, 20).await?;
    let first = client.campaign("election", "a", lease).await?;
    let leader = first.leader().ok_or("no leader key")?.clone();
    let mut observed = client.observe("election").await?;
    client.proclaim("A", Some(ProclaimOptions::new().with_leader(leader.clone()))).await?;
    loop {
        let response = timeout(PATIENCE, observed.message()).await??.ok_or("the observation ended")?;
        if response.kv().ok_or("no kv")?.value_str()? == "A" {
            break;
        }
    }
    let lease = grant(&mut client, 20).await?;
    let mut other = client.clone();
    let mut second = Box::pin(other.campaign("election", "b", lease));
    check_waits("a second leader", &mut second).await?;
    client.resign(Some(ResignOptions::new().with_leader(leader))).await?;
    let second = timeout(PATIENCE, second).await??;
    let now = client.leader("election").await?;
    check("next leader", "b", now.kv().ok_or("no kv")?.value_str()?)?;
    let leader = second.leader().ok_or("no leader key")?.clone();
    client.resign(Some(ResignOptions::new().with_leader(leader))).await?;
    Ok(String::new())
}

async fn put_persistently(client: &mut Client, key: String, value: String) -> Result<i64, Failure> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let put = timeout(Duration::from_secs(5), client.put(key.as_str(), value.as_str(), None)).await;
        if let Ok(Ok(response)) = put {
            return Ok(response.header().ok_or("no header")?.revision());
        }
        if Instant::now() > deadline {
            return Err(format!("no put was acknowledged for a minute: {put:?}").into());
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Collects the revisions of the events of the deaths, and starts again behind the last one when the
/// stream breaks.
async fn record(mut client: Client, mut revision: i64, events: Arc<Mutex<Vec<i64>>>, breaks: Arc<AtomicUsize>) {
    loop {
        let options = WatchOptions::new().with_prefix().with_start_revision(revision);
        if let Ok(mut stream) = client.watch("deaths/w", Some(options)).await {
            while let Ok(Some(response)) = stream.message().await {
                for kv in response.events().iter().filter_map(|event| event.kv()) {
                    events.lock().unwrap().push(kv.mod_revision());
                    revision = kv.mod_revision() + 1;
                }
            }
        }
        breaks.fetch_add(1, Ordering::Relaxed);
        sleep(Duration::from_millis(100)).await;
    }
}

async fn keep_alive(mut client: Client, lease: i64) {
    loop {
        if let Ok((mut keeper, mut answers)) = client.lease_keep_alive(lease).await {
            while keeper.keep_alive().await.is_ok() {
                match timeout(Duration::from_secs(1), answers.message()).await {
                    Ok(Ok(Some(_))) => sleep(Duration::from_secs(1)).await,
                    _ => break,
                }
            }
        }
        sleep(Duration::from_millis(100)).await;
    }
}

async fn put_until_done(client: &mut Client) -> Result<Vec<i64>, Failure> {
    let done = Arc::new(AtomicBool::new(false));
    let seen = done.clone();
    tokio::spawn(async move {
        let _ = tokio::io::stdin().read_u8().await;
        seen.store(true, Ordering::Relaxed);
    });
    let end = Instant::now() + Duration::from_secs(2 * LEASE_TTL as u64);
    println!("kill");
    let mut acknowledged = Vec::new();
    while !done.load(Ordering::Relaxed) || Instant::now() < end {
        let n = acknowledged.len();
        acknowledged.push(put_persistently(client, format!("deaths/w{}", n % 10), n.to_string()).await?);
        sleep(Duration::from_millis(5)).await;
    }
    Ok(acknowledged)
}

async fn deaths(mut client: Client) -> Outcome {
    let lease = grant(&mut client, LEASE_TTL).await?;
    let begin = put_with_lease(&mut client, "deaths/leased", lease).await?;
    let held = client.lock("held", Some(LockOptions::new().with_lease(lease))).await?;
    let events = Arc::new(Mutex::new(Vec::new()));
    let breaks = Arc::new(AtomicUsize::new(0));
    tokio::spawn(keep_alive(client.clone(), lease));
    tokio::spawn(record(client.clone(), begin, events.clone(), breaks.clone()));

    let acknowledged = put_until_done(&mut client).await?;
    let last = *acknowledged.last().ok_or("no put")?;
    let deadline = Instant::now() + PATIENCE;
    while !events.lock().unwrap().contains(&last) {
        if Instant::now() > deadline {
            return Err("the event of the last put: not within 30 s".into());
        }
        sleep(Duration::from_millis(50)).await;
    }
    let seen = events.lock().unwrap().clone();
    let distinct: BTreeSet<i64> = seen.iter().copied().collect();
    check("strictly increasing revisions", distinct.iter().copied().collect::<Vec<_>>(), seen.clone())?;
    let lost: Vec<_> = acknowledged.iter().filter(|revision| !distinct.contains(revision)).collect();
    check("acknowledged puts without event", vec![], lost)?;
    let all = client.get("deaths/w", Some(GetOptions::new().with_prefix())).await?;
    let versions: i64 = all.kvs().iter().map(|kv| kv.version()).sum();
    check("events for each version of each key", versions, seen.len() as i64)?;
    check("leased key", Some("1".to_string()), value_of(&mut client, "deaths/leased").await?)?;
    check("keys of the lock", 1, client.get(held.key(), None).await?.count())?;
    client.unlock(held.key()).await?;
    let breaks = breaks.load(Ordering::Relaxed);
    Ok(format!("{} puts, {} events, {breaks} broken watches", acknowledged.len(), seen.len()))
}

/// Prints the outcome of a step. The program ends with the first step that fails.
async fn run(name: &str, step: impl Future<Output = Outcome>) {
    match step.await {
        Ok(detail) if detail.is_empty() => println!("ok {name}"),
        Ok(detail) => println!("ok {name}: {detail}"),
        Err(error) => {
            println!("fail {name}: {error}");
            std::process::exit(1);
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let endpoints: Vec<String> = std::env::args().skip(1).collect();
    let client = Client::connect(endpoints, None).await?;
    run("put", put(client.clone())).await;
    run("get", get(client.clone())).await;
    run("watch", watch(client.clone())).await;
    run("lease", lease(client.clone())).await;
    run("lock", lock(client.clone())).await;
    run("election", election(client.clone())).await;
    run("deaths", deaths(client.clone())).await;
    std::process::exit(0);
}
