//! Whether everything is decided that traders may have written while the node was unreachable.

use std::time::Duration;

use trade::Backlog;

use super::Ticket;
use crate::nostr::Subscriptions;

/// How long relays may take to send their stored events, from when the first one is connected; and how
/// long no relay may be connected before the backlog counts as unreachable.
const BACKLOG_TIMEOUT: Duration = Duration::from_mins(10);

/// How long the other relays may take to connect, from when the first one is connected.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// The state of the backlog: it begins at a start and whenever the node becomes unreachable, and ends
/// when everything is decided that was sent meanwhile.
#[derive(Debug)]
pub(super) struct BacklogState {
    current: Backlog,
    /// Since when no relay has been connected; none while one is.
    unreachable_since: Option<Duration>,
    /// When the first relay was connected, in this backlog.
    reachable_since: Option<Duration>,
    /// Set once everything has arrived: it is decided when all tickets before this are finished.
    mark: Option<Ticket>,
}

/// What the state depends on, at a moment of the monotonic clock.
pub(super) struct Situation<'a> {
    pub(super) now: Duration,
    pub(super) subscriptions: &'a Subscriptions,
    /// Whether messages of parties wait until the clock is corrected.
    pub(super) some_are_early: bool,
}

impl BacklogState {
    pub(super) fn new(now: Duration) -> Self {
        let current = Backlog::Reading;
        Self { current, unreachable_since: Some(now), reachable_since: None, mark: None }
    }

    /// Updates and returns the state. All that has arrived is finished when `is_finished(mark)`.
    pub(super) fn update(
        &mut self,
        situation: &Situation<'_>,
        mark: Ticket,
        is_finished: impl Fn(Ticket) -> bool,
    ) -> Backlog {
        let Situation { now, subscriptions, some_are_early } = *situation;
        if !subscriptions.is_reachable() {
            if self.current == Backlog::Decided {
                (self.current, self.reachable_since) = (Backlog::Reading, None);
            }
            self.mark = None;
            let since = *self.unreachable_since.get_or_insert(now);
            let is_lost = now.saturating_sub(since) >= BACKLOG_TIMEOUT;
            self.current = if is_lost { Backlog::Unreachable } else { Backlog::Reading };
            return self.current;
        }
        self.unreachable_since = None;
        if self.current == Backlog::Decided {
            return self.current;
        }
        let reachable_for = now.saturating_sub(*self.reachable_since.get_or_insert(now));
        let has_time = reachable_for < BACKLOG_TIMEOUT;
        let has_arrived = subscriptions.has_sent_all(reachable_for >= CONNECT_TIMEOUT);
        if has_arrived || !has_time {
            self.mark.get_or_insert(mark);
        }
        let is_decided = self.mark.is_some_and(is_finished) && !(some_are_early && has_time);
        self.current = if is_decided { Backlog::Decided } else { Backlog::Reading };
        self.current
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nostr::Phase;

    const MINUTE: Duration = Duration::from_mins(1);

    struct Fixture {
        backlog: BacklogState,
        subscriptions: Subscriptions,
        now: Duration,
        some_are_early: bool,
    }

    impl Fixture {
        fn new(relays: usize) -> Self {
            let backlog = BacklogState::new(Duration::ZERO);
            let subscriptions = Subscriptions::new(relays);
            Self { backlog, subscriptions, now: Duration::ZERO, some_are_early: false }
        }

        fn set(&mut self, relay: usize, phase: Phase) -> &mut Self {
            self.subscriptions.set(relay, phase);
            self
        }

        fn after(&mut self, time: Duration) -> &mut Self {
            self.now += time;
            self
        }

        /// The state when three messages have arrived, and all before this ticket are finished.
        fn update(&mut self, finished: Ticket) -> Backlog {
            let Self { backlog, subscriptions, now, some_are_early } = self;
            let situation = Situation { now: *now, subscriptions, some_are_early: *some_are_early };
            backlog.update(&situation, 3, |mark| mark <= finished)
        }
    }

    // spec: D40
    #[test]
    fn the_backlog_is_decided_once_all_of_it_has_arrived_and_is_finished() {
        let mut fixture = Fixture::new(1);
        assert_eq!(fixture.update(0), Backlog::Reading);
        assert_eq!(fixture.set(0, Phase::Paging).update(3), Backlog::Reading);
        assert_eq!(fixture.set(0, Phase::Open).update(2), Backlog::Reading);
        assert_eq!(fixture.update(3), Backlog::Decided);
    }

    // spec: D40
    #[test]
    fn every_connected_relay_has_ten_minutes_to_send_its_pages() {
        let mut fixture = Fixture::new(2);
        fixture.set(0, Phase::Open).set(1, Phase::Paging);
        assert_eq!(fixture.update(3), Backlog::Reading);
        assert_eq!(fixture.after(9 * MINUTE).update(3), Backlog::Reading);
        assert_eq!(fixture.after(MINUTE).update(3), Backlog::Decided);
    }

    // spec: D40
    #[test]
    fn a_relay_that_is_not_connected_has_half_a_minute_to_connect() {
        let mut fixture = Fixture::new(2);
        assert_eq!(fixture.set(0, Phase::Open).update(3), Backlog::Reading);
        assert_eq!(fixture.after(MINUTE / 2).update(3), Backlog::Decided);

        let mut both = Fixture::new(2);
        assert_eq!(both.set(0, Phase::Open).set(1, Phase::Open).update(3), Backlog::Decided);
    }

    // spec: D40
    #[test]
    fn the_backlog_is_unreachable_after_ten_minutes_without_a_relay() {
        let mut fixture = Fixture::new(1);
        assert_eq!(fixture.set(0, Phase::Requested).after(9 * MINUTE).update(3), Backlog::Reading);
        assert_eq!(fixture.after(MINUTE).update(3), Backlog::Unreachable);
        assert_eq!(fixture.set(0, Phase::Paging).update(3), Backlog::Reading);
        assert_eq!(fixture.set(0, Phase::Open).update(3), Backlog::Decided);
    }

    // spec: D40
    #[test]
    fn a_new_backlog_begins_whenever_the_last_relay_is_lost() {
        let mut fixture = Fixture::new(1);
        assert_eq!(fixture.set(0, Phase::Open).update(3), Backlog::Decided);
        assert_eq!(fixture.set(0, Phase::Closed).after(MINUTE).update(3), Backlog::Reading);
        assert_eq!(fixture.set(0, Phase::Open).update(2), Backlog::Reading);
        assert_eq!(fixture.update(3), Backlog::Decided);
    }

    // spec: D40
    #[test]
    fn relays_that_come_and_go_do_not_extend_the_timeout() {
        let mut fixture = Fixture::new(1);
        for _ in 0..2 {
            assert_eq!(fixture.set(0, Phase::Paging).update(3), Backlog::Reading);
            assert_eq!(fixture.set(0, Phase::Closed).after(5 * MINUTE).update(3), Backlog::Reading);
        }
        assert_eq!(fixture.set(0, Phase::Paging).update(3), Backlog::Decided);
    }

    // spec: D40 D41
    #[test]
    fn a_clock_that_is_behind_has_ten_minutes_to_be_corrected() {
        let mut fixture = Fixture { some_are_early: true, ..Fixture::new(1) };
        assert_eq!(fixture.set(0, Phase::Open).update(3), Backlog::Reading);
        assert_eq!(fixture.after(10 * MINUTE).update(3), Backlog::Decided);
    }
}
