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
use scripted::{Scripted, answer, is_for_a_page, is_requested};

const NOW: i64 = 1_760_000_000;

/// One node that is subscribed at some relays, until it is dropped.
struct Fixture {
    relays: Relays,
    events: mpsc::Receiver<Event>,
    cursor: watch::Sender<Timestamp>,
    _tasks: JoinSet<()>,
}

impl Fixture {
    async fn subscribed_at(urls: &[String]) -> Self {
        Self::with(Options { urls: urls.to_vec(), ..options() }).await
    }

    async fn with(options: Options) -> Self {
        let (relays, listener, events) = Relays::new(&options, &node()).await.unwrap();
        let (cursor, at) = watch::channel(Timestamp(NOW));
        let mut tasks = JoinSet::new();
        tasks.spawn(listener.run(at));
        Self { relays, events, cursor, _tasks: tasks }
    }

    /// Waits for this state of the subscriptions.
    async fn until(&self, wanted: impl FnMut(&Subscriptions) -> bool) {
        let mut subscriptions = self.relays.subscriptions();
        soon(subscriptions.wait_for(wanted)).await.unwrap();
    }

    /// The ids of the different events that have been received and not read yet.
    fn received(&mut self) -> Vec<EventId> {
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

/// Fails a test that would never end.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), future).await.expect("it should have happened by now")
}

// spec: D5
#[tokio::test]
async fn stored_events_arrive_before_the_catch_up_ends_and_new_ones_after() {
    let stored = [direct(60), message(Kind::GiftWrap, 3_600)];
    let (relay, url) = relay_with(&stored, builder()).await;

    let mut fixture = Fixture::subscribed_at(&[url]).await;
    fixture.until(Subscriptions::is_caught_up).await;
    assert_eq!(fixture.received(), ids(&stored));

    let new = [message(Kind::GiftWrap, 170_000), direct(0)];
    for event in &new {
        relay.notify_event(event.clone());
    }
    assert_eq!(fixture.next(2).await, ids(&new));
}

// spec: D5
#[tokio::test]
async fn stored_events_are_requested_with_the_overlap_of_each_transport() {
    let wanted =
        [message(Kind::GiftWrap, 49 * 3_600 - 1), message(Kind::PrivateDirectMessage, 15 * 60 - 1)];
    let unwanted = [
        message(Kind::GiftWrap, 49 * 3_600 + 1),
        message(Kind::PrivateDirectMessage, 15 * 60 + 1),
        message(Kind::TextNote, 1),
        addressed_to(&Keys::generate(), Kind::GiftWrap, 1),
    ];
    let (_relay, url) = relay_with(&[&wanted[..], &unwanted[..]].concat(), builder()).await;

    let mut fixture = Fixture::subscribed_at(&[url]).await;
    fixture.until(Subscriptions::is_caught_up).await;
    assert_eq!(fixture.received(), ids(&wanted));
}

#[tokio::test]
async fn only_the_transports_in_use_are_subscribed_to() {
    let (wrap, direct) = (message(Kind::GiftWrap, 1), direct(1));
    let (_relay, url) = relay_with(&[wrap.clone(), direct], builder()).await;

    let options = Options { urls: vec![url], transports: vec![Transport::GiftWrap], ..options() };
    let mut fixture = Fixture::with(options).await;
    fixture.until(Subscriptions::is_caught_up).await;
    assert_eq!(fixture.received(), [wrap.id]);
}

// spec: D5
#[tokio::test]
async fn a_relay_with_a_small_page_limit_is_asked_until_all_events_have_arrived() {
    let stored: Vec<_> = (0..35).map(|age| message(Kind::GiftWrap, age * 1_000)).collect();
    let (_relay, url) = relay_with(&stored, builder().default_filter_limit(10)).await;

    let mut fixture = Fixture::subscribed_at(&[url]).await;
    assert_eq!(fixture.next(35).await, ids(&stored));
    fixture.until(Subscriptions::is_caught_up).await;
}

// spec: D5
#[tokio::test]
async fn a_page_full_of_events_of_one_second_does_not_hide_older_events() {
    let full_page = (0..15).map(|n| event(&node(), Kind::GiftWrap, 60, &n.to_string()));
    let older = [message(Kind::GiftWrap, 61), message(Kind::GiftWrap, 3_600)];
    let stored: Vec<_> = full_page.chain(older.clone()).collect();
    let (_relay, url) = relay_with(&stored, builder().default_filter_limit(10)).await;

    let mut fixture = Fixture::subscribed_at(&[url]).await;
    fixture.until(Subscriptions::is_caught_up).await;
    let received = fixture.received();
    assert!(older.iter().all(|event| received.contains(&event.id)), "{} came", received.len());
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
async fn an_event_beyond_the_size_limit_is_not_accepted_from_a_relay() {
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

/// Ends a relay, and waits until that is detected.
async fn lose(relay: &LocalRelay, fixture: &Fixture, is_noticed: impl Fn(&Subscriptions) -> bool) {
    // A busy connection may miss the signal, so it is repeated.
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

/// A relay at a given address.
async fn relay_at(url: &str, stored: &[Event]) -> LocalRelay {
    let address: SocketAddr = url.trim_start_matches("ws://").parse().unwrap();
    relay_with(stored, builder().addr(address.ip()).port(address.port())).await.0
}

// spec: D5
#[tokio::test]
async fn after_a_lost_connection_events_are_requested_from_the_cursor_of_the_loss() {
    let old = direct(0);
    let (first, url) = relay_with(std::slice::from_ref(&old), builder()).await;
    let mut fixture = Fixture::subscribed_at(std::slice::from_ref(&url)).await;
    assert_eq!(fixture.next(1).await, [old.id]);
    fixture.until(Subscriptions::is_caught_up).await;

    fixture.cursor.send_replace(Timestamp(NOW + 10_000));
    lose(&first, &fixture, |subscriptions| !subscriptions.is_reachable()).await;
    assert!(!fixture.relays.subscriptions().borrow().is_caught_up());
    fixture.received();

    let missed = direct(-9_999);
    let _second = relay_at(&url, &[old, missed.clone()]).await;
    assert_eq!(fixture.next(1).await, [missed.id]);
    fixture.until(Subscriptions::is_reachable).await;
}

// spec: D5
#[tokio::test]
async fn a_relay_that_connects_late_is_asked_for_what_it_stored_meanwhile() {
    let (_early, url) = relay(builder()).await;
    let late_url = free_address();
    let mut fixture = Fixture::subscribed_at(&[url, late_url.clone()]).await;
    fixture.until(|subscriptions| subscriptions.openings_of(0) == 1).await;
    fixture.cursor.send_replace(Timestamp(NOW + 10_000));

    let kept = direct(-60);
    let _late = relay_at(&late_url, std::slice::from_ref(&kept)).await;
    assert_eq!(fixture.next(1).await, [kept.id]);
}

// spec: D5
#[tokio::test]
async fn a_single_disconnected_relay_is_requested_from_the_cursor_of_the_disconnect() {
    let (_other, other_url) = relay(builder()).await;
    let (lost, url) = relay(builder()).await;
    let mut fixture = Fixture::subscribed_at(&[other_url, url.clone()]).await;
    let both = |subscriptions: &Subscriptions| subscriptions.open() == 2;
    fixture.until(both).await;
    fixture.cursor.send_replace(Timestamp(NOW + 5_000));
    lose(&lost, &fixture, |subscriptions| subscriptions.open() == 1).await;
    fixture.cursor.send_replace(Timestamp(NOW + 50_000));

    let (before, kept) = (direct(-4_000), direct(-4_200));
    let _back = relay_at(&url, &[before, kept.clone()]).await;
    fixture.until(both).await;
    assert_eq!(fixture.received(), [kept.id]);
}

/// Refuses the first requests, as a busy relay would.
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

    let mut fixture = Fixture::subscribed_at(&[url]).await;
    assert_eq!(fixture.next(1).await, ids(&stored));
    fixture.until(Subscriptions::is_reachable).await;
}

// spec: D5
#[tokio::test]
async fn a_relay_that_confirms_the_close_of_a_page_is_subscribed() {
    let stored = direct(1);
    let confirming = stored.clone();
    let relay = Scripted::new(move |message| match message {
        ClientMessage::Close(id) => vec![RelayMessage::closed(id.into_owned(), "")],
        message => answer(&message, &[&confirming]),
    })
    .await;
    let mut fixture = Fixture::subscribed_at(std::slice::from_ref(&relay.url)).await;

    assert_eq!(fixture.next(1).await, [stored.id]);
    fixture.until(Subscriptions::is_reachable).await;
}

// spec: D5
#[tokio::test]
async fn a_relay_that_closes_each_page_by_itself_is_asked_for_the_next() {
    let stored: Vec<_> = (0..5).map(|age| direct(age * 10)).collect();
    let one_at_a_time = stored.clone();
    let relay = Scripted::new(move |message| {
        let page = one_at_a_time.iter().find(|event| is_requested(&message, event));
        let mut answers = answer(&message, page.as_slice());
        if let ClientMessage::Req { subscription_id, filters } = message
            && is_for_a_page(&filters)
        {
            answers.push(RelayMessage::closed(subscription_id.into_owned(), ""));
        }
        answers
    })
    .await;
    let mut fixture = Fixture::subscribed_at(std::slice::from_ref(&relay.url)).await;

    assert_eq!(fixture.next(5).await, ids(&stored));
    fixture.until(Subscriptions::is_caught_up).await;
}

// spec: D5
#[tokio::test]
async fn new_events_arrive_while_older_ones_are_still_fetched() {
    let (stored, new) = (direct(1), direct(0));
    let (newest, fresh) = (stored.clone(), new.clone());
    let relay = Scripted::new(move |message| match message {
        // Instead of an answer, a new event.
        ClientMessage::Req { filters, .. } if is_for_a_page(&filters) => {
            vec![RelayMessage::event(SubscriptionId::new("mostro-direct"), fresh.clone())]
        }
        message => answer(&message, &[&newest]),
    })
    .await;
    let mut fixture = Fixture::subscribed_at(std::slice::from_ref(&relay.url)).await;

    fixture.until(Subscriptions::is_reachable).await;
    assert_eq!(fixture.next(2).await, ids(&[stored, new]));
    assert!(!fixture.relays.subscriptions().borrow().is_caught_up());
}

// spec: D5
#[tokio::test]
async fn a_page_that_a_relay_refuses_for_its_rate_limit_is_requested_again() {
    let stored = [direct(2), direct(1)];
    let one_at_a_time = stored.clone();
    let subscriptions = Arc::new(AtomicU32::new(0));
    let (mut refusals, requested) = (3_u32, Arc::clone(&subscriptions));
    let relay = Scripted::new(move |message| match message {
        ClientMessage::Req { subscription_id, filters }
            if is_for_a_page(&filters) && refusals > 0 =>
        {
            refusals -= 1;
            vec![RelayMessage::closed(subscription_id.into_owned(), "rate-limited: slow down")]
        }
        message => {
            let page = one_at_a_time.iter().rev().find(|event| is_requested(&message, event));
            if matches!(&message, ClientMessage::Req { filters, .. } if !is_for_a_page(filters)) {
                requested.fetch_add(1, Ordering::SeqCst);
            }
            answer(&message, page.as_slice())
        }
    })
    .await;
    let mut fixture = Fixture::subscribed_at(std::slice::from_ref(&relay.url)).await;

    assert_eq!(fixture.next(2).await, ids(&stored));
    fixture.until(Subscriptions::is_caught_up).await;
    assert_eq!(subscriptions.load(Ordering::SeqCst), 2, "one for each transport");
}

// spec: D5
#[tokio::test]
async fn a_relay_that_requires_authentication_gets_it() {
    let stored = [direct(1)];
    let nip42 = RelayBuilderNip42 { mode: RelayBuilderNip42Mode::Both };
    let (_relay, url) = relay_with(&stored, builder().nip42(nip42)).await;

    let mut fixture = Fixture::subscribed_at(&[url]).await;
    assert_eq!(fixture.next(1).await, ids(&stored));
}

// spec: D5
#[tokio::test(start_paused = true)]
async fn the_catch_up_ends_after_ten_seconds_though_a_relay_is_still_sending() {
    let (subscriptions, mut seen) = watch::channel(Subscriptions::new(1));
    let mut tasks = JoinSet::new();
    let watched = subscriptions.clone();
    tasks.spawn(async move { listen::limit_catch_up(&watched).await });
    let started = tokio::time::Instant::now();

    subscriptions.send_modify(|subscriptions| subscriptions.set(0, subscriptions::Phase::Paging));
    seen.wait_for(Subscriptions::is_caught_up).await.unwrap();
    assert_eq!(started.elapsed(), Duration::from_secs(10));
}

#[derive(Debug)]
struct AcceptsNothing;

impl WritePolicy for AcceptsNothing {
    fn admit_event<'a>(
        &'a self,
        _event: &'a Event,
        _from: &'a SocketAddr,
    ) -> BoxedFuture<'a, PolicyResult> {
        Box::pin(async { PolicyResult::Reject("full".into()) })
    }
}

#[tokio::test]
async fn an_event_is_published_if_one_relay_accepts_it_also_a_second_time() {
    let (_first, refusing) = relay(builder().write_policy(AcceptsNothing)).await;
    let (_second, accepting) = relay(builder()).await;
    let fixture = Fixture::subscribed_at(&[refusing, accepting]).await;
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
    let (_relay, url) = relay(builder().write_policy(AcceptsNothing)).await;
    let fixture = Fixture::subscribed_at(&[url]).await;
    fixture.until(Subscriptions::is_reachable).await;

    let error = fixture.relays.publish(&direct(0)).await.unwrap_err();
    assert!(matches!(error, RelayError::Refused { .. }));
    assert!(error.to_string().contains("full"), "{error}");
}

#[tokio::test]
async fn nothing_is_published_while_no_relay_is_connected() {
    let unreachable = "ws://127.0.0.1:9".to_owned();
    let fixture = Fixture::subscribed_at(&[unreachable]).await;
    let error = fixture.relays.publish(&direct(0)).await;
    assert!(matches!(error, Err(RelayError::NoneConnected)));
    assert!(fixture.relays.connected().await.is_empty());
}

#[tokio::test]
async fn connected_relays_are_named_as_in_the_settings() {
    let (_relay, url) = relay(builder()).await;
    let urls = ["ws://127.0.0.1:9".to_owned(), format!("{url}/"), url.clone()];
    let fixture = Fixture::subscribed_at(&urls).await;
    fixture.until(Subscriptions::is_reachable).await;
    assert_eq!(fixture.relays.connected().await, [url]);
}

#[tokio::test]
async fn the_error_of_an_invalid_address_names_it() {
    let options = Options { urls: vec!["relay.example.com".into()], ..options() };
    let refused = Relays::new(&options, &node()).await.err();
    assert!(matches!(refused, Some(RelayError::BadUrl { url }) if url == "relay.example.com"));
}

#[test]
fn the_texts_of_relays_are_shown_on_one_line_and_cut() {
    let long = format!("wss://relay.example: no\n{}\u{1b}[2J", "x".repeat(1_000_000));

    let refusals = [long, "short".into()].map(|text| NotAccepted { text, answer: None });
    let shown = RelayError::Refused { refusals: refusals.into() }.to_string();

    let beginning = "no relay accepted the event: wss://relay.example: no\\nxx";
    assert!(shown.starts_with(beginning), "{shown}");
    assert!(shown.ends_with("xx…; short") && shown.len() < 300, "{shown}");
}

// spec: D31
#[test]
fn a_refusal_is_about_time_if_every_relay_that_answers_says_so() {
    let is_about_time = |answers: &[Option<&str>]| {
        let refusal = |answer: Option<&str>| NotAccepted {
            text: String::new(),
            answer: answer.map(Into::into),
        };
        let refusals = answers.iter().copied().map(refusal).collect();
        RelayError::Refused { refusals }.is_about_time()
    };

    for answer in [
        "invalid: created_at too late",
        "invalid: event creation date is too far off from the current time",
        "The event created_at field is out of the acceptable range (+30min) for this relay.",
        "blocked: event too much in the future",
        "invalid: event too old",
        "rejected: timestamp is too far in the future",
    ] {
        assert!(is_about_time(&[Some(answer)]), "{answer}");
    }
    assert!(is_about_time(&[Some("invalid: created_at too late"), None]), "the other is silent");
    assert!(!is_about_time(&[None, None]));
    assert!(!is_about_time(&[Some("invalid: created_at too late"), Some("blocked: kind")]));
    assert!(!is_about_time(&[Some("rate-limited: too early to write again")]));
    assert!(!RelayError::NoneConnected.is_about_time());
}
