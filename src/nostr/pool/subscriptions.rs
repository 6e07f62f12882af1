//! Whether traders can reach us: what the relays' subscriptions amount to together.

use trade::Timestamp;

/// What is known about the relays' subscriptions. Relays are known by their place in the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscriptions {
    phases: Vec<Phase>,
    /// How often each relay has come.
    arrivals: Vec<u64>,
    /// Until when each relay was heard in full; what came to it later is asked for.
    received_until: Vec<Option<Timestamp>>,
    is_caught_up: bool,
}

/// Where one relay's subscription stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Not connected, or the relay closed it.
    Closed,
    /// The relay is still sending the newest of what it has stored.
    Asked,
    /// What is new comes; what was stored before that is fetched page by page.
    Paging,
    /// Everything stored has come; what comes now is new.
    Open,
}

impl Phase {
    fn receives(self) -> bool {
        matches!(self, Self::Paging | Self::Open)
    }
}

impl Subscriptions {
    /// No relay is connected.
    #[must_use]
    pub fn new(relays: usize) -> Self {
        Self {
            phases: vec![Phase::Closed; relays],
            arrivals: vec![0; relays],
            received_until: vec![None; relays],
            is_caught_up: false,
        }
    }

    /// Whether a relay sends us what is new. If not, traders cannot reach us.
    #[must_use]
    pub fn is_reachable(&self) -> bool {
        self.phases.iter().any(|phase| phase.receives())
    }

    /// Whether every connected relay has sent what it had stored, or has had time enough. False
    /// again once all are lost.
    ///
    /// When it turns true, all that was heard before is in the channel.
    #[must_use]
    pub fn is_caught_up(&self) -> bool {
        self.is_caught_up
    }

    /// Whether every relay has sent all that it had stored; `as_they_are`: every connected one, of
    /// which there is one at least.
    #[must_use]
    pub fn has_sent_all(&self, as_they_are: bool) -> bool {
        self.is_reachable()
            && self.phases.iter().all(|phase| match phase {
                Phase::Open => true,
                Phase::Closed => as_they_are,
                Phase::Asked | Phase::Paging => false,
            })
    }

    /// How often a relay has come to send us what is new, counted from the start.
    #[must_use]
    pub fn arrivals_of(&self, relay: usize) -> u64 {
        self.arrivals.get(relay).copied().unwrap_or_default()
    }

    /// Until when a relay had been heard in full, before it came; none when it was not looked for yet.
    #[must_use]
    pub fn received_until(&self, relay: usize) -> Option<Timestamp> {
        self.received_until.get(relay).copied().flatten()
    }

    /// Since when some relay has not been heard in full; none while all are.
    #[must_use]
    pub fn missed_since(&self) -> Option<Timestamp> {
        let lines = self.phases.iter().zip(&self.received_until);
        lines.filter(|(phase, _)| **phase != Phase::Open).filter_map(|(_, until)| *until).min()
    }

    /// Whether relays are asked and the answer is not complete.
    pub(super) fn is_catching_up(&self) -> bool {
        !self.is_caught_up && self.phases.iter().any(|phase| *phase != Phase::Closed)
    }

    /// One relay's subscription stands there now.
    pub fn set(&mut self, place: usize, phase: Phase) {
        if let (Some(at), Some(arrivals)) =
            (self.phases.get_mut(place), self.arrivals.get_mut(place))
        {
            let has_come = phase.receives() && !at.receives();
            *arrivals += u64::from(has_come);
            *at = phase;
        }
        if self.phases.iter().all(|phase| *phase == Phase::Closed) {
            self.is_caught_up = false;
        } else if !self.phases.iter().any(|phase| matches!(phase, Phase::Asked | Phase::Paging)) {
            self.is_caught_up = true;
        }
    }

    pub(super) fn ask(&mut self, place: usize, from: Timestamp) {
        if let Some(until) = self.received_until.get_mut(place) {
            *until = Some(from);
        }
    }

    /// How many relays have sent everything.
    #[cfg(test)]
    pub(super) fn open(&self) -> usize {
        self.phases.iter().filter(|phase| **phase == Phase::Open).count()
    }

    pub(super) fn run_out_of_patience(&mut self) {
        self.is_caught_up = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(steps: &[(usize, Phase)], is_reachable: bool, is_caught_up: bool) {
        let mut subscriptions = Subscriptions::new(2);
        for (place, phase) in steps {
            subscriptions.set(*place, *phase);
        }
        assert_eq!(
            (subscriptions.is_reachable(), subscriptions.is_caught_up()),
            (is_reachable, is_caught_up)
        );
    }

    // spec: D5
    #[test]
    fn one_open_subscription_is_enough_to_be_reachable() {
        check(&[], false, false);
        check(&[(0, Phase::Asked)], false, false);
        check(&[(0, Phase::Asked), (0, Phase::Open)], true, true);
    }

    // spec: D5
    #[test]
    fn catching_up_ends_when_every_connected_relay_has_sent_its_own() {
        let both_asked = [(0, Phase::Asked), (1, Phase::Asked), (0, Phase::Open)];
        check(&both_asked, true, false);
        check(&[&both_asked[..], &[(1, Phase::Open)]].concat(), true, true);
        check(&[&both_asked[..], &[(1, Phase::Closed)]].concat(), true, true);
    }

    // spec: D5
    #[test]
    fn a_relay_that_comes_later_does_not_make_the_others_wait_again() {
        check(&[(0, Phase::Asked), (0, Phase::Open), (1, Phase::Asked)], true, true);
    }

    // spec: D5
    #[test]
    fn a_relay_is_heard_while_older_messages_are_fetched_from_it() {
        check(&[(0, Phase::Asked), (0, Phase::Paging)], true, false);
        check(&[(0, Phase::Asked), (0, Phase::Paging), (0, Phase::Open)], true, true);
    }

    // spec: D5
    #[test]
    fn after_an_outage_there_is_something_to_catch_up_with() {
        let lost = [(0, Phase::Open), (0, Phase::Closed)];
        check(&lost, false, false);
        check(&[&lost[..], &[(0, Phase::Asked)]].concat(), false, false);
    }

    #[test]
    fn a_relay_arrives_each_time_its_subscription_opens() {
        let mut subscriptions = Subscriptions::new(2);
        for phase in [Phase::Asked, Phase::Paging, Phase::Open, Phase::Closed, Phase::Open] {
            subscriptions.set(1, phase);
        }
        assert_eq!((subscriptions.arrivals_of(0), subscriptions.arrivals_of(1)), (0, 2));
    }

    // spec: D5
    #[test]
    fn what_was_missed_began_when_the_first_relay_was_lost() {
        let mut subscriptions = Subscriptions::new(3);
        for (place, from) in [(0, 10), (1, 20), (2, 30)] {
            subscriptions.ask(place, Timestamp(from));
        }
        assert_eq!(subscriptions.missed_since(), Some(Timestamp(10)));
        subscriptions.set(0, Phase::Open);
        subscriptions.set(1, Phase::Paging);
        assert_eq!(subscriptions.missed_since(), Some(Timestamp(20)));
        subscriptions.set(1, Phase::Open);
        subscriptions.set(2, Phase::Open);
        assert_eq!(subscriptions.missed_since(), None);
    }
}
