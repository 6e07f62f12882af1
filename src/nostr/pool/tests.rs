mod scripted;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use nostr_relay_builder::prelude::{
    LocalRelay, MemoryDatabase, MemoryDatabaseOptions, NostrDatabase, PolicyResult, QueryPolicy,
    RateLimit, RelayBuilder, RelayBuilderNip42, RelayBuilderNip42Mode, WritePolicy,
};
use nostr_sdk::util::BoxedFuture;
use nostr_sdk::{
    ClientMessage, EventId, Filter, JsonUtil, Kind, RelayMessage, SubscriptionId, Tag,
    UnsignedEvent,
};
use tokio::task::JoinSet;
use tokio::time::timeout;
use trade::Timestamp;

use super::*;
use scripted::{Scripted, answer, is_about_the_past, is_asked_for};

const NOW: i64 = 1_760_000_000;

/// One node that listens to some relays, until it is dropped.
struct Fixture {
    relays: Relays,
    events: mpsc::Receiver<Event>,
    cursor: watch::Sender<Timestamp>,
    _tasks: JoinSet<()>,
}

impl Fixture {
    async fn listening_to(urls: &[String]) -> Self {
        Self::with(Options { urls: urls.to_vec(), ..options() }).await
    }

    async fn with(options: Options) -> Self {
        let (relays, listener, events) = Relays::new(&options, &node()).await.unwrap();
        let (cursor, at) = watch::channel(Timestamp(NOW));
        let mut tasks = JoinSet::new();
        tasks.spawn(listener.run(at));
        Self { relays, events, cursor, _tasks: tasks }
    }

    /// Waits for the state of subscriptions that the test is about.
    async fn until(&self, wanted: impl FnMut(&Subscriptions) -> bool) {
        let mut subscriptions = self.relays.subscriptions();
        soon(subscriptions.wait_for(wanted)).await.unwrap();
    }

    /// The ids of the different events that wait to be read.
    fn heard(&mut self) -> Vec<EventId> {
        let waiting: Vec<_> = std::iter::from_fn(|| self.events.try_recv().ok()).collect();
        let mut ids = ids(&waiting);
        ids.dedup();
        ids
    }

    /// The ids of the next `count` different events.
    async fn next(&mut self, count: usize) -> Vec<EventId> {
        let mut ids = Vec::new();
        let all = async {
            while ids.len() < count {
                let id = self.events.recv().await.unwrap().id;
                if !ids.contains(&id) {
                    ids.push(id);
                }
            }
        };
        soon(all).await;
        ids.sort();
        ids
    }
}

fn options() -> Options {
    Options {
        urls: Vec::new(),
        transports: Transport::ALL.to_vec(),
        max_event_bytes: 16_384,
        queue: 64,
        retry: Duration::from_millis(50),
    }
}

fn node() -> Keys {
    Keys::parse(&"11".repeat(32)).unwrap()
}

/// A message to the node, sent `age` seconds before the cursor.
fn message(kind: Kind, age: i64) -> Event {
    addressed_to(&node(), kind, age)
}

fn direct(age: i64) -> Event {
    message(Kind::PrivateDirectMessage, age)
}

fn addressed_to(reader: &Keys, kind: Kind, age: i64) -> Event {
    event(reader, kind, age, "x")
}

fn with_content(content: &str) -> Event {
    event(&node(), Kind::PrivateDirectMessage, 0, content)
}

fn event(reader: &Keys, kind: Kind, age: i64, content: &str) -> Event {
    let at = nostr_sdk::Timestamp::from_secs((NOW - age).unsigned_abs());
    let author = Keys::generate();
    let tags = [Tag::public_key(reader.public_key())];
    let event = UnsignedEvent::new(author.public_key(), at, kind, tags, content);
    event.sign_with_keys(&author).unwrap()
}

fn ids<'a>(events: impl IntoIterator<Item = &'a Event>) -> Vec<EventId> {
    let mut ids: Vec<_> = events.into_iter().map(|event| event.id).collect();
    ids.sort();
    ids
}

fn builder() -> RelayBuilder {
    let limit = RateLimit { max_reqs: 1_000, notes_per_minute: 1_000_000 };
    RelayBuilder::default().rate_limit(limit)
}

async fn relay(builder: RelayBuilder) -> (LocalRelay, String) {
    let relay = LocalRelay::new(builder);
    relay.run().await.unwrap();
    let url = relay.url().await.to_string();
    (relay, url)
}

async fn relay_with(stored: &[Event], builder: RelayBuilder) -> (LocalRelay, String) {
    relay(builder.database(database_with(stored).await)).await
}

async fn database_with(stored: &[Event]) -> MemoryDatabase {
    let options = MemoryDatabaseOptions { events: true, max_events: None };
    let database = MemoryDatabase::with_opts(options);
    for event in stored {
        database.save_event(event).await.unwrap();
    }
    database
}

/// Nothing here takes long, unless it never happens.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), future).await.expect("it should have happened by now")
}

// spec: D5
#[tokio::test]
async fn what_a_relay_has_stored_comes_before_catching_up_ends_and_what_is_new_after() {
    let stored = [direct(60), message(Kind::GiftWrap, 3_600)];
    let (relay, url) = relay_with(&stored, builder()).await;

    let mut fixture = Fixture::listening_to(&[url]).await;
    fixture.until(Subscriptions::is_caught_up).await;
    assert_eq!(fixture.heard(), ids(&stored));

    let new = [message(Kind::GiftWrap, 170_000), direct(0)];
    for event in &new {
        relay.notify_event(event.clone());
    }
    assert_eq!(fixture.next(2).await, ids(&new));
}

// spec: D5
#[tokio::test]
async fn the_past_is_asked_for_as_far_as_each_transport_may_hide_it() {
    let wanted =
        [message(Kind::GiftWrap, 49 * 3_600 - 1), message(Kind::PrivateDirectMessage, 15 * 60 - 1)];
    let unwanted = [
        message(Kind::GiftWrap, 49 * 3_600 + 1),
        message(Kind::PrivateDirectMessage, 15 * 60 + 1),
        message(Kind::TextNote, 1),
        addressed_to(&Keys::generate(), Kind::GiftWrap, 1),
    ];
    let (_relay, url) = relay_with(&[&wanted[..], &unwanted[..]].concat(), builder()).await;

    let mut fixture = Fixture::listening_to(&[url]).await;
    fixture.until(Subscriptions::is_caught_up).await;
    assert_eq!(fixture.heard(), ids(&wanted));
}

#[tokio::test]
async fn only_the_transports_in_use_are_listened_to() {
    let (wrap, direct) = (message(Kind::GiftWrap, 1), direct(1));
    let (_relay, url) = relay_with(&[wrap.clone(), direct], builder()).await;

    let options = Options { urls: vec![url], transports: vec![Transport::GiftWrap], ..options() };
    let mut fixture = Fixture::with(options).await;
    fixture.until(Subscriptions::is_caught_up).await;
    assert_eq!(fixture.heard(), [wrap.id]);
}

// spec: D5
#[tokio::test]
async fn a_relay_that_sends_a_few_at_a_time_is_asked_until_all_have_come() {
    let stored: Vec<_> = (0..35).map(|age| message(Kind::GiftWrap, age * 1_000)).collect();
    let (_relay, url) = relay_with(&stored, builder().default_filter_limit(10)).await;

    let mut fixture = Fixture::listening_to(&[url]).await;
    assert_eq!(fixture.next(35).await, ids(&stored));
    fixture.until(Subscriptions::is_caught_up).await;
}

// spec: D5
#[tokio::test]
async fn a_second_that_fills_a_page_does_not_hide_what_is_older() {
    let crowd = (0..15).map(|n| event(&node(), Kind::GiftWrap, 60, &n.to_string()));
    let older = [message(Kind::GiftWrap, 61), message(Kind::GiftWrap, 3_600)];
    let stored: Vec<_> = crowd.chain(older.clone()).collect();
    let (_relay, url) = relay_with(&stored, builder().default_filter_limit(10)).await;

    let mut fixture = Fixture::listening_to(&[url]).await;
    fixture.until(Subscriptions::is_caught_up).await;
    let heard = fixture.heard();
    assert!(older.iter().all(|event| heard.contains(&event.id)), "{} came", heard.len());
}

// spec: D5
#[tokio::test]
async fn a_full_queue_makes_the_relay_wait_and_loses_nothing() {
    let stored: Vec<_> = (0..50).map(direct).collect();
    let (_relay, url) = relay_with(&stored, builder()).await;

    let mut fixture = Fixture::with(Options { urls: vec![url], queue: 1, ..options() }).await;
    assert_eq!(fixture.next(50).await, ids(&stored));
}

#[tokio::test]
async fn an_event_beyond_the_size_limit_is_not_taken_from_a_relay() {
    let (relay, url) = relay(builder()).await;
    let small = direct(0);
    let max_event_bytes = u32::try_from(small.as_json().len()).unwrap();

    let mut fixture =
        Fixture::with(Options { urls: vec![url], max_event_bytes, ..options() }).await;
    fixture.until(Subscriptions::is_caught_up).await;
    relay.notify_event(with_content("xx"));
    relay.notify_event(small.clone());
    assert_eq!(fixture.next(1).await, [small.id]);
}

/// Ends a relay, and waits until that is noticed.
async fn lose(relay: &LocalRelay, fixture: &Fixture, is_noticed: impl Fn(&Subscriptions) -> bool) {
    // A connection that is busy misses the word: it is said until it is heard.
    let subscriptions = fixture.relays.subscriptions();
    let lost = async {
        while !is_noticed(&subscriptions.borrow()) {
            relay.shutdown();
            tokio::task::yield_now().await;
        }
    };
    soon(lost).await;
}

fn free_address() -> String {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("ws://{}", taken.local_addr().unwrap())
}

/// A relay where another was, or is looked for.
async fn relay_at(url: &str, stored: &[Event]) -> LocalRelay {
    let address: SocketAddr = url.trim_start_matches("ws://").parse().unwrap();
    relay_with(stored, builder().addr(address.ip()).port(address.port())).await.0
}

// spec: D5
#[tokio::test]
async fn after_a_lost_connection_the_relay_is_asked_again_from_where_it_was_lost() {
    let old = direct(0);
    let (first, url) = relay_with(std::slice::from_ref(&old), builder()).await;
    let mut fixture = Fixture::listening_to(std::slice::from_ref(&url)).await;
    assert_eq!(fixture.next(1).await, [old.id]);
    fixture.until(Subscriptions::is_caught_up).await;

    fixture.cursor.send_replace(Timestamp(NOW + 10_000));
    lose(&first, &fixture, |subscriptions| !subscriptions.is_reachable()).await;
    assert!(!fixture.relays.subscriptions().borrow().is_caught_up());
    fixture.heard();

    let missed = direct(-9_999);
    let _second = relay_at(&url, &[old, missed.clone()]).await;
    assert_eq!(fixture.next(1).await, [missed.id]);
    fixture.until(Subscriptions::is_reachable).await;
}

// spec: D5
#[tokio::test]
async fn a_relay_that_comes_late_is_asked_for_what_it_kept_while_others_were_heard() {
    let (_early, url) = relay(builder()).await;
    let late_url = free_address();
    let mut fixture = Fixture::listening_to(&[url, late_url.clone()]).await;
    fixture.until(|subscriptions| subscriptions.arrivals_of(0) == 1).await;
    fixture.cursor.send_replace(Timestamp(NOW + 10_000));

    let kept = direct(-60);
    let _late = relay_at(&late_url, std::slice::from_ref(&kept)).await;
    assert_eq!(fixture.next(1).await, [kept.id]);
}

// spec: D5
#[tokio::test]
async fn a_relay_that_is_lost_alone_is_asked_from_where_it_was_lost() {
    let (_other, other_url) = relay(builder()).await;
    let (lost, url) = relay(builder()).await;
    let mut fixture = Fixture::listening_to(&[other_url, url.clone()]).await;
    let both = |subscriptions: &Subscriptions| subscriptions.open() == 2;
    fixture.until(both).await;
    fixture.cursor.send_replace(Timestamp(NOW + 5_000));
    lose(&lost, &fixture, |subscriptions| subscriptions.open() == 1).await;
    fixture.cursor.send_replace(Timestamp(NOW + 50_000));

    let (heard, kept) = (direct(-4_000), direct(-4_200));
    let _back = relay_at(&url, &[heard, kept.clone()]).await;
    fixture.until(both).await;
    assert_eq!(fixture.heard(), [kept.id]);
}

/// Refuses the first questions, as a busy relay would.
#[derive(Debug)]
struct Busy(AtomicU32);

impl QueryPolicy for Busy {
    fn admit_query<'a>(
        &'a self,
        _query: &'a Filter,
        _from: &'a SocketAddr,
    ) -> BoxedFuture<'a, PolicyResult> {
        let left = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        Box::pin(async move {
            match left {
                Ok(_) => PolicyResult::Reject("busy".into()),
                Err(_) => PolicyResult::Accept,
            }
        })
    }
}

// spec: D5
#[tokio::test]
async fn a_subscription_that_a_relay_closes_is_opened_again() {
    let stored = [direct(1)];
    let busy = builder().query_policy(Busy(AtomicU32::new(3)));
    let (_relay, url) = relay_with(&stored, busy).await;

    let mut fixture = Fixture::listening_to(&[url]).await;
    assert_eq!(fixture.next(1).await, ids(&stored));
    fixture.until(Subscriptions::is_reachable).await;
}

// spec: D5
#[tokio::test]
async fn a_relay_that_confirms_the_end_of_a_question_is_heard() {
    let stored = direct(1);
    let confirming = stored.clone();
    let relay = Scripted::new(move |said| match said {
        ClientMessage::Close(id) => vec![RelayMessage::closed(id.into_owned(), "")],
        said => answer(&said, &[&confirming]),
    })
    .await;
    let mut fixture = Fixture::listening_to(std::slice::from_ref(&relay.url)).await;

    assert_eq!(fixture.next(1).await, [stored.id]);
    fixture.until(Subscriptions::is_reachable).await;
}

// spec: D5
#[tokio::test]
async fn a_relay_that_ends_each_question_about_the_past_by_itself_is_asked_on() {
    let stored: Vec<_> = (0..5).map(|age| direct(age * 10)).collect();
    let one_at_a_time = stored.clone();
    let relay = Scripted::new(move |said| {
        let page = one_at_a_time.iter().find(|event| is_asked_for(&said, event));
        let mut answers = answer(&said, page.as_slice());
        if let ClientMessage::Req { subscription_id, filters } = said
            && is_about_the_past(&filters)
        {
            answers.push(RelayMessage::closed(subscription_id.into_owned(), ""));
        }
        answers
    })
    .await;
    let mut fixture = Fixture::listening_to(std::slice::from_ref(&relay.url)).await;

    assert_eq!(fixture.next(5).await, ids(&stored));
    fixture.until(Subscriptions::is_caught_up).await;
}

// spec: D5
#[tokio::test]
async fn what_is_new_is_heard_while_older_messages_are_still_to_come() {
    let (stored, new) = (direct(1), direct(0));
    let (newest, fresh) = (stored.clone(), new.clone());
    let relay = Scripted::new(move |said| match said {
        // Instead of an answer, what just came in.
        ClientMessage::Req { filters, .. } if is_about_the_past(&filters) => {
            vec![RelayMessage::event(SubscriptionId::new("mostro-direct"), fresh.clone())]
        }
        said => answer(&said, &[&newest]),
    })
    .await;
    let mut fixture = Fixture::listening_to(std::slice::from_ref(&relay.url)).await;

    fixture.until(Subscriptions::is_reachable).await;
    assert_eq!(fixture.next(2).await, ids(&[stored, new]));
    assert!(!fixture.relays.subscriptions().borrow().is_caught_up());
}

// spec: D5
#[tokio::test]
async fn a_relay_that_wants_its_pages_asked_for_slowly_is_heard_all_the_same() {
    let stored = [direct(2), direct(1)];
    let one_at_a_time = stored.clone();
    let subscriptions = Arc::new(AtomicU32::new(0));
    let (mut refusals, asked) = (3_u32, Arc::clone(&subscriptions));
    let relay = Scripted::new(move |said| match said {
        ClientMessage::Req { subscription_id, filters }
            if is_about_the_past(&filters) && refusals > 0 =>
        {
            refusals -= 1;
            vec![RelayMessage::closed(subscription_id.into_owned(), "rate-limited: slow down")]
        }
        said => {
            let page = one_at_a_time.iter().rev().find(|event| is_asked_for(&said, event));
            if matches!(&said, ClientMessage::Req { filters, .. } if !is_about_the_past(filters)) {
                asked.fetch_add(1, Ordering::SeqCst);
            }
            answer(&said, page.as_slice())
        }
    })
    .await;
    let mut fixture = Fixture::listening_to(std::slice::from_ref(&relay.url)).await;

    assert_eq!(fixture.next(2).await, ids(&stored));
    fixture.until(Subscriptions::is_caught_up).await;
    assert_eq!(subscriptions.load(Ordering::SeqCst), 2, "one for each transport");
}

// spec: D5
#[tokio::test]
async fn a_relay_that_wants_to_know_its_reader_is_told() {
    let stored = [direct(1)];
    let nip42 = RelayBuilderNip42 { mode: RelayBuilderNip42Mode::Both };
    let (_relay, url) = relay_with(&stored, builder().nip42(nip42)).await;

    let mut fixture = Fixture::listening_to(&[url]).await;
    assert_eq!(fixture.next(1).await, ids(&stored));
}

// spec: D5
#[tokio::test(start_paused = true)]
async fn catching_up_ends_after_ten_seconds_though_a_relay_is_still_sending() {
    let (subscriptions, mut seen) = watch::channel(Subscriptions::new(1));
    let mut tasks = JoinSet::new();
    let watched = subscriptions.clone();
    tasks.spawn(async move { listen::watch_patience(&watched).await });
    let begun = tokio::time::Instant::now();

    subscriptions.send_modify(|subscriptions| subscriptions.set(0, subscriptions::Phase::Paging));
    seen.wait_for(Subscriptions::is_caught_up).await.unwrap();
    assert_eq!(begun.elapsed(), Duration::from_secs(10));
}

#[derive(Debug)]
struct TakesNothing;

impl WritePolicy for TakesNothing {
    fn admit_event<'a>(
        &'a self,
        _event: &'a Event,
        _from: &'a SocketAddr,
    ) -> BoxedFuture<'a, PolicyResult> {
        Box::pin(async { PolicyResult::Reject("full".into()) })
    }
}

#[tokio::test]
async fn one_relay_that_takes_an_event_is_enough_however_often_it_is_sent() {
    let (_grumpy, refusing) = relay(builder().write_policy(TakesNothing)).await;
    let (_kind, taking) = relay(builder()).await;
    let fixture = Fixture::listening_to(&[refusing, taking]).await;
    let both = async {
        while fixture.relays.connected().await.len() < 2 {
            tokio::task::yield_now().await;
        }
    };
    soon(both).await;

    let event = direct(0);
    fixture.relays.publish(&event).await.unwrap();
    fixture.relays.publish(&event).await.unwrap();
}

#[tokio::test]
async fn an_event_that_every_relay_refuses_is_an_error_with_their_reasons() {
    let (_relay, url) = relay(builder().write_policy(TakesNothing)).await;
    let fixture = Fixture::listening_to(&[url]).await;
    fixture.until(Subscriptions::is_reachable).await;

    let error = fixture.relays.publish(&direct(0)).await.unwrap_err();
    assert!(matches!(error, RelayError::Refused { .. }));
    assert!(error.to_string().contains("full"), "{error}");
}

#[tokio::test]
async fn nothing_is_published_while_no_relay_is_connected() {
    let nobody = "ws://127.0.0.1:9".to_owned();
    let fixture = Fixture::listening_to(&[nobody]).await;
    let error = fixture.relays.publish(&direct(0)).await;
    assert!(matches!(error, Err(RelayError::NoneConnected)));
    assert!(fixture.relays.connected().await.is_empty());
}

#[tokio::test]
async fn connected_relays_are_named_as_in_the_settings() {
    let (_relay, url) = relay(builder()).await;
    let urls = ["ws://127.0.0.1:9".to_owned(), format!("{url}/"), url.clone()];
    let fixture = Fixture::listening_to(&urls).await;
    fixture.until(Subscriptions::is_reachable).await;
    assert_eq!(fixture.relays.connected().await, [url]);
}

#[tokio::test]
async fn a_wrong_address_is_refused_by_name() {
    let options = Options { urls: vec!["relay.example.com".into()], ..options() };
    let refused = Relays::new(&options, &node()).await.err();
    assert!(matches!(refused, Some(RelayError::BadUrl { url }) if url == "relay.example.com"));
}

#[test]
fn what_relays_say_is_shown_on_one_line_and_not_at_length() {
    let said = format!("wss://relay.example: no\n{}\u{1b}[2J", "x".repeat(1_000_000));

    let refusals = [said, "short".into()].map(|text| NotTaken { text, answer: None });
    let shown = RelayError::Refused { refusals: refusals.into() }.to_string();

    assert!(shown.starts_with("no relay took the event: wss://relay.example: no\\nxx"), "{shown}");
    assert!(shown.ends_with("xx…; short") && shown.len() < 300, "{shown}");
}

// spec: D31
#[test]
fn a_refusal_is_about_time_if_all_say_so_who_answer() {
    let is_about_time = |answers: &[Option<&str>]| {
        let not_taken =
            |answer: Option<&str>| NotTaken { text: String::new(), answer: answer.map(Into::into) };
        let refusals = answers.iter().copied().map(not_taken).collect();
        RelayError::Refused { refusals }.is_about_time()
    };

    for words in [
        "invalid: created_at too late",
        "invalid: event creation date is too far off from the current time",
        "The event created_at field is out of the acceptable range (+30min) for this relay.",
        "blocked: event too much in the future",
        "invalid: event too old",
        "rejected: timestamp is too far in the future",
    ] {
        assert!(is_about_time(&[Some(words)]), "{words}");
    }
    assert!(is_about_time(&[Some("invalid: created_at too late"), None]), "silence says nothing");
    assert!(!is_about_time(&[None, None]));
    assert!(!is_about_time(&[Some("invalid: created_at too late"), Some("blocked: kind")]));
    assert!(!is_about_time(&[Some("rate-limited: too early to write again")]));
    assert!(!RelayError::NoneConnected.is_about_time());
}
