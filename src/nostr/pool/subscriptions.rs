//! The state of all relays' subscriptions: whether traders can reach us.

use trade::Timestamp;

/// The state of the relays' subscriptions. A relay is identified by its index in the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscriptions {
    phases: Vec<Phase>,
    /// How often each relay's subscription has begun to deliver new events.
    openings: Vec<u64>,
    /// Until when everything from each relay was received; later events are requested.
    received_until: Vec<Option<Timestamp>>,
    is_caught_up: bool,
}

/// The phase of one relay's subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Not connected, or the relay closed it.
    Closed,
    /// The relay is still sending the newest page of its stored events.
    Requested,
    /// New events arrive; older stored events are fetched page by page.
    Paging,
    /// All stored events have arrived; what arrives now is new.
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
            openings: vec![0; relays],
            received_until: vec![None; relays],
            is_caught_up: false,
        }
    }

    /// Whether any relay sends us new events. If not, traders cannot reach us.
    #[must_use]
    pub fn is_reachable(&self) -> bool {
        self.phases.iter().any(|phase| phase.receives())
    }

    /// Whether every connected relay has sent its stored events, or the time for that is over. False
    /// again once no relay is connected.
    ///
    /// When it turns true, all events received before are in the channel.
    #[must_use]
    pub fn is_caught_up(&self) -> bool {
        self.is_caught_up
    }

    /// Whether every relay has sent all its stored events; with `connected_only`, every connected one,
    /// of which there must be at least one.
    #[must_use]
    pub fn has_sent_all(&self, connected_only: bool) -> bool {
        self.is_reachable()
            && self.phases.iter().all(|phase| match phase {
                Phase::Open => true,
                Phase::Closed => connected_only,
                Phase::Requested | Phase::Paging => false,
            })
    }

    /// How often a relay's subscription has begun to deliver new events, counted from the start.
    #[must_use]
    pub fn openings_of(&self, relay: usize) -> u64 {
        self.openings.get(relay).copied().unwrap_or_default()
    }

    /// Until when everything from a relay had been received when it was last requested; none before the
    /// first request.
    #[must_use]
    pub fn received_until(&self, relay: usize) -> Option<Timestamp> {
        self.received_until.get(relay).copied().flatten()
    }

    /// Since when events of some relay may be missing; none while all relays are fully received.
    #[must_use]
    pub fn missed_since(&self) -> Option<Timestamp> {
        let relays = self.phases.iter().zip(&self.received_until);
        relays.filter(|(phase, _)| **phase != Phase::Open).filter_map(|(_, until)| *until).min()
    }

    /// Whether stored events are still arriving.
    pub(super) fn is_catching_up(&self) -> bool {
        !self.is_caught_up && self.phases.iter().any(|phase| *phase != Phase::Closed)
    }

    /// Sets the phase of one relay's subscription.
    pub fn set(&mut self, relay: usize, phase: Phase) {
        if let (Some(current), Some(openings)) =
            (self.phases.get_mut(relay), self.openings.get_mut(relay))
        {
            let opens = phase.receives() && !current.receives();
            *openings += u64::from(opens);
            *current = phase;
        }
        if self.phases.iter().all(|phase| *phase == Phase::Closed) {
            self.is_caught_up = false;
        } else if !self.phases.iter().any(|phase| matches!(phase, Phase::Requested | Phase::Paging))
        {
            self.is_caught_up = true;
        }
    }

    pub(super) fn set_received_until(&mut self, relay: usize, until: Timestamp) {
        if let Some(received) = self.received_until.get_mut(relay) {
            *received = Some(until);
        }
    }

    /// How many relays have sent all their stored events.
    #[cfg(test)]
    pub(super) fn open(&self) -> usize {
        self.phases.iter().filter(|phase| **phase == Phase::Open).count()
    }

    /// Stops waiting for the rest of the stored events.
    pub(super) fn end_catch_up(&mut self) {
        self.is_caught_up = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(steps: &[(usize, Phase)], is_reachable: bool, is_caught_up: bool) {
        let mut subscriptions = Subscriptions::new(2);
        for (relay, phase) in steps {
            subscriptions.set(*relay, *phase);
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
        check(&[(0, Phase::Requested)], false, false);
        check(&[(0, Phase::Requested), (0, Phase::Open)], true, true);
    }

    // spec: D5
    #[test]
    fn catching_up_ends_when_every_connected_relay_has_sent_its_stored_events() {
        let both_requested = [(0, Phase::Requested), (1, Phase::Requested), (0, Phase::Open)];
        check(&both_requested, true, false);
        check(&[&both_requested[..], &[(1, Phase::Open)]].concat(), true, true);
        check(&[&both_requested[..], &[(1, Phase::Closed)]].concat(), true, true);
    }

    // spec: D5
    #[test]
    fn a_relay_that_connects_later_does_not_restart_the_catch_up() {
        check(&[(0, Phase::Requested), (0, Phase::Open), (1, Phase::Requested)], true, true);
    }

    // spec: D5
    #[test]
    fn the_node_is_reachable_while_older_messages_are_fetched() {
        check(&[(0, Phase::Requested), (0, Phase::Paging)], true, false);
        check(&[(0, Phase::Requested), (0, Phase::Paging), (0, Phase::Open)], true, true);
    }

    // spec: D5
    #[test]
    fn after_an_outage_the_catch_up_begins_again() {
        let lost = [(0, Phase::Open), (0, Phase::Closed)];
        check(&lost, false, false);
        check(&[&lost[..], &[(0, Phase::Requested)]].concat(), false, false);
    }

    #[test]
    fn an_opening_is_counted_each_time_new_events_begin_to_arrive() {
        let mut subscriptions = Subscriptions::new(2);
        for phase in [Phase::Requested, Phase::Paging, Phase::Open, Phase::Closed, Phase::Open] {
            subscriptions.set(1, phase);
        }
        assert_eq!((subscriptions.openings_of(0), subscriptions.openings_of(1)), (0, 2));
    }

    // spec: D5
    #[test]
    fn events_may_be_missing_since_the_first_relay_was_lost() {
        let mut subscriptions = Subscriptions::new(3);
        for (relay, until) in [(0, 10), (1, 20), (2, 30)] {
            subscriptions.set_received_until(relay, Timestamp(until));
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
