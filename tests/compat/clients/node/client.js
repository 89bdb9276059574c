// The steps of ../run with Node's etcd3. Its watches resume and its leases are kept alive by the library.
'use strict';
const { Etcd3 } = require('etcd3');
const readline = require('readline');

const endpoints = process.argv.slice(2);
const client = new Etcd3({ hosts: endpoints.map((e) => `http://${e}`), dialTimeout: 2000 });
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function check(what, expected, actual) {
  const [e, a] = [JSON.stringify(expected), JSON.stringify(actual)];
  if (e !== a) throw new Error(`${what}: expected ${e}, got ${a}`);
}

async function waitUntil(what, fact, seconds = 30) {
  const deadline = Date.now() + seconds * 1000;
  while (!(await fact())) {
    if (Date.now() > deadline) throw new Error(`${what}: not within ${seconds} s`);
    await sleep(50);
  }
}

async function put() {
  const first = await client.put('js/a').value('1');
  const second = await client.put('js/a').value('2');
  check('revision of the next put', Number(first.header.revision) + 1, Number(second.header.revision));
  await client.put('js/b').value('3');
}

async function get() {
  const answer = await client.get('js/a').exec();
  check('value', '2', answer.kvs[0].value.toString());
  check('version', '2', answer.kvs[0].version);
  check('prefix', { 'js/a': '2', 'js/b': '3' }, await client.getAll().prefix('js/').strings());
  check('missing key', null, await client.get('js/none').string());
}

async function watch() {
  const watcher = await client.watch().prefix('watch/').create();
  const events = [];
  watcher.on('put', (kv) => events.push(`${kv.key}=${kv.value}`));
  watcher.on('delete', (kv) => events.push(`deleted ${kv.key}`));
  const expected = [];
  for (let i = 0; i < 100; ++i) {
    const key = `watch/${String(i).padStart(3, '0')}`;
    await client.put(key).value(String(i));
    expected.push(`${key}=${i}`);
  }
  await client.delete().key('watch/000');
  expected.push('deleted watch/000');
  await waitUntil('101 events', () => events.length >= 101);
  check('events', expected, events);
  await watcher.cancel();
}

async function lease() {
  const kept = client.lease(2);
  const left = client.lease(2, { autoKeepAlive: false });
  const lost = [];
  kept.on('lost', (error) => lost.push(String(error)));
  await kept.put('lease/kept').value('1');
  await left.put('lease/left').value('1');
  await sleep(6000);
  check('key of the lease that is kept alive', '1', await client.get('lease/kept').string());
  check('losses', [], lost);
  await waitUntil('expiry', async () => (await client.get('lease/left').string()) === null);
  await kept.revoke();
  check('key after the revocation', null, await client.get('lease/kept').string());
}

async function lock() {
  const [first, second] = [client.lock('lock').ttl(20), client.lock('lock').ttl(20)];
  await first.acquire();
  const refused = await second.acquire().then(() => 'acquired', (error) => error.constructor.name);
  check('acquire of a taken lock', 'EtcdLockFailedError', refused);
  await first.release();
  await second.acquire();
  await second.release();
}

async function election() {
  const election = client.election('election', 5);
  const first = election.campaign('a');
  await first.wait();
  check('leader', 'a', await election.leader());
  const observer = await election.observe();
  const seen = [observer.leader()];
  observer.on('change', (leader) => seen.push(leader));
  await first.proclaim('A');
  await waitUntil('the proclaimed value', () => seen.includes('A'));
  const second = election.campaign('b');
  let elected = false;
  second.on('elected', () => (elected = true));
  await sleep(1000);
  check('elected beside a leader', false, elected);
  await first.resign();
  await waitUntil('the second candidate', () => elected);
  check('next leader', 'b', await election.leader());
  await observer.cancel();
  await second.resign();
}

async function persistently(call, seconds = 60) {
  const deadline = Date.now() + seconds * 1000;
  for (;;) {
    try {
      return await call();
    } catch (error) {
      if (Date.now() > deadline) throw new Error(`no answer within ${seconds} s: ${error}`);
      await sleep(100);
    }
  }
}

async function deaths() {
  const ttl = 6;
  const kept = client.lease(ttl);
  const lost = [];
  kept.on('lost', (error) => lost.push(String(error)));
  await kept.put('deaths/leased').value('1');
  const granted = Date.now();
  const held = client.lock('held').ttl(10);
  await held.acquire();
  const begin = await client.put('deaths/begin').value('1');
  const watcher = await client.watch().prefix('deaths/w').startRevision(begin.header.revision).create();
  const events = [];
  let broken = 0;
  watcher.on('put', (kv) => events.push(Number(kv.mod_revision)));
  watcher.on('disconnected', () => ++broken);

  let done = false;
  readline.createInterface({ input: process.stdin }).on('line', () => (done = true));
  console.log('kill');
  const acknowledged = [];
  while (!done || Date.now() < granted + 2 * ttl * 1000) {
    const n = acknowledged.length;
    const answer = await persistently(() => client.put(`deaths/w${n % 10}`).value(String(n)));
    acknowledged.push(Number(answer.header.revision));
    await sleep(5);
  }

  const last = acknowledged[acknowledged.length - 1];
  await waitUntil('the event of the last put', () => events[events.length - 1] >= last);
  check('strictly increasing revisions', [...new Set(events)].sort((a, b) => a - b), events);
  const seen = new Set(events);
  check('acknowledged puts without event', [], acknowledged.filter((revision) => !seen.has(revision)));
  const all = await persistently(() => client.getAll().prefix('deaths/w').exec());
  check('events for each version of each key', all.kvs.reduce((sum, kv) => sum + Number(kv.version), 0), events.length);
  check('leased key', '1', await persistently(() => client.get('deaths/leased').string()));
  check('losses of the lease', [], lost);
  const taken = await client.lock('held').ttl(10).acquire().then(() => 'acquired', (error) => error.constructor.name);
  check('lock is held', 'EtcdLockFailedError', taken);
  await held.release();
  await kept.revoke();
  await watcher.cancel();
  return `${acknowledged.length} puts, ${events.length} events, ${broken} broken watches`;
}

(async () => {
  for (const step of [put, get, watch, lease, lock, election, deaths]) {
    try {
      const detail = await step();
      console.log(`ok ${step.name}${detail ? `: ${detail}` : ''}`);
    } catch (error) {
      console.log(`fail ${step.name}: ${error.message || error}`);
      process.exit(1);
    }
  }
  process.exit(0);
})();
