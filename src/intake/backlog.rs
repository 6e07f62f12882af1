//! Is all decided that traders may have written while no relay was heard (D40)?

use std::time::Duration;

use trade::Backlog;

use super::Ticket;
use crate::nostr::Subscriptions;

/// How long relays may take to send what they had stored, counted from the first that is heard; and
/// how long none of them may be heard before they count as out of reach.
const PATIENCE: Duration = Duration::from_mins(10);

/// How long a relay that is not connected may take to come, once another one is heard.
const LATECOMERS: Duration = Duration::from_secs(30);

/// From a start, and whenever no relay is heard, until everything is decided that was sent meanwhile.
#[derive(Debug)]
pub(super) struct Waiting {
    is: Backlog,
    /// Since when no relay has been heard; none while one is.
    silent_since: Option<Duration>,
    /// When the first relay was heard, in this wait.
    heard_since: Option<Duration>,
    /// All that was sent has arrived; it is decided when all before this has ended.
    mark: Option<Ticket>,
}

/// What there is to go by, at a moment of the monotonic clock.
pub(super) struct Situation<'a> {
    pub(super) now: Duration,
    pub(super) subscriptions: &'a Subscriptions,
    /// Whether messages of parties wait for the clock to be set right.
    pub(super) some_are_early: bool,
}

impl Waiting {
    pub(super) fn from(now: Duration) -> Self {
        Self { is: Backlog::Reading, silent_since: Some(now), heard_since: None, mark: None }
    }

    /// Where it stands now. `mark` is passed when all that has arrived has ended, as `has_ended` says
    /// of a mark.
    pub(super) fn goes_on(
        &mut self,
        situation: &Situation<'_>,
        mark: Ticket,
        has_ended: impl Fn(Ticket) -> bool,
    ) -> Backlog {
        let Situation { now, subscriptions, some_are_early } = *situation;
        if !subscriptions.is_reachable() {
            if self.is == Backlog::Decided {
                (self.is, self.heard_since) = (Backlog::Reading, None);
            }
            self.mark = None;
            let since = *self.silent_since.get_or_insert(now);
            let is_lost = now.saturating_sub(since) >= PATIENCE;
            self.is = if is_lost { Backlog::Unreachable } else { Backlog::Reading };
            return self.is;
        }
        self.silent_since = None;
        if self.is == Backlog::Decided {
            return self.is;
        }
        let heard_for = now.saturating_sub(*self.heard_since.get_or_insert(now));
        let has_patience = heard_for < PATIENCE;
        let all_are_here = subscriptions.has_sent_all(heard_for >= LATECOMERS);
        if all_are_here || !has_patience {
            self.mark.get_or_insert(mark);
        }
        let are_decided = self.mark.is_some_and(has_ended) && !(some_are_early && has_patience);
        self.is = if are_decided { Backlog::Decided } else { Backlog::Reading };
        self.is
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nostr::Phase;

    const MINUTE: Duration = Duration::from_mins(1);

    struct Ward {
        waiting: Waiting,
        subscriptions: Subscriptions,
        now: Duration,
        some_are_early: bool,
    }

    impl Ward {
        fn new(relays: usize) -> Self {
            let waiting = Waiting::from(Duration::ZERO);
            let subscriptions = Subscriptions::new(relays);
            Self { waiting, subscriptions, now: Duration::ZERO, some_are_early: false }
        }

        fn stands(&mut self, place: usize, phase: Phase) -> &mut Self {
            self.subscriptions.set(place, phase);
            self
        }

        fn after(&mut self, time: Duration) -> &mut Self {
            self.now += time;
            self
        }

        /// With everything before this ticket at its end, and three messages that have arrived.
        fn is(&mut self, ended: Ticket) -> Backlog {
            let Self { waiting, subscriptions, now, some_are_early } = self;
            let situation = Situation { now: *now, subscriptions, some_are_early: *some_are_early };
            waiting.goes_on(&situation, 3, |mark| mark <= ended)
        }
    }

    // spec: D40
    #[test]
    fn it_is_decided_once_all_that_was_sent_has_ended_and_not_when_it_waits() {
        let mut ward = Ward::new(1);
        assert_eq!(ward.is(0), Backlog::Reading);
        assert_eq!(ward.stands(0, Phase::Paging).is(3), Backlog::Reading);
        assert_eq!(ward.stands(0, Phase::Open).is(2), Backlog::Reading);
        assert_eq!(ward.is(3), Backlog::Decided);
    }

    // spec: D40
    #[test]
    fn every_connected_relay_has_ten_minutes_to_send_its_pages() {
        let mut ward = Ward::new(2);
        ward.stands(0, Phase::Open).stands(1, Phase::Paging);
        assert_eq!(ward.is(3), Backlog::Reading);
        assert_eq!(ward.after(9 * MINUTE).is(3), Backlog::Reading);
        assert_eq!(ward.after(MINUTE).is(3), Backlog::Decided);
    }

    // spec: D40
    #[test]
    fn a_relay_that_is_not_connected_has_half_a_minute_to_come() {
        let mut ward = Ward::new(2);
        assert_eq!(ward.stands(0, Phase::Open).is(3), Backlog::Reading);
        assert_eq!(ward.after(MINUTE / 2).is(3), Backlog::Decided);

        let mut both = Ward::new(2);
        assert_eq!(both.stands(0, Phase::Open).stands(1, Phase::Open).is(3), Backlog::Decided);
    }

    // spec: D40
    #[test]
    fn relays_are_out_of_reach_after_ten_minutes_in_which_none_was_heard() {
        let mut ward = Ward::new(1);
        assert_eq!(ward.stands(0, Phase::Requested).after(9 * MINUTE).is(3), Backlog::Reading);
        assert_eq!(ward.after(MINUTE).is(3), Backlog::Unreachable);
        assert_eq!(ward.stands(0, Phase::Paging).is(3), Backlog::Reading);
        assert_eq!(ward.stands(0, Phase::Open).is(3), Backlog::Decided);
    }

    // spec: D40
    #[test]
    fn whenever_no_relay_is_heard_it_begins_anew() {
        let mut ward = Ward::new(1);
        assert_eq!(ward.stands(0, Phase::Open).is(3), Backlog::Decided);
        assert_eq!(ward.stands(0, Phase::Closed).after(MINUTE).is(3), Backlog::Reading);
        assert_eq!(ward.stands(0, Phase::Open).is(2), Backlog::Reading);
        assert_eq!(ward.is(3), Backlog::Decided);
    }

    // spec: D40
    #[test]
    fn relays_that_come_and_go_do_not_make_it_wait_for_ever() {
        let mut ward = Ward::new(1);
        for _ in 0..2 {
            assert_eq!(ward.stands(0, Phase::Paging).is(3), Backlog::Reading);
            assert_eq!(ward.stands(0, Phase::Closed).after(5 * MINUTE).is(3), Backlog::Reading);
        }
        assert_eq!(ward.stands(0, Phase::Paging).is(3), Backlog::Decided);
    }

    // spec: D40 D41
    #[test]
    fn a_clock_that_is_behind_has_ten_minutes_to_be_set_right() {
        let mut ward = Ward { some_are_early: true, ..Ward::new(1) };
        assert_eq!(ward.stands(0, Phase::Open).is(3), Backlog::Reading);
        assert_eq!(ward.after(10 * MINUTE).is(3), Backlog::Decided);
    }
}
