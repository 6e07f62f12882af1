//! The messages that have arrived and are not finished: each one once, limited for each sender.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use trade::TradeKey;

use super::Ticket;
use super::lanes::Lane;
use crate::store::EventId;

/// How many messages of one sender may wait, about one order.
const MAX_PER_SENDER: usize = 32;

/// How many messages of all strangers may wait. Traders do not share this limit.
const MAX_OF_STRANGERS: usize = 512;

/// How often a warning names the same sender at most, and how many senders are named in that time.
const WARNING_INTERVAL: Duration = Duration::from_mins(1);
const MAX_NAMED: usize = 16;

/// Why a message is dropped. It counts as finished, so it is not requested again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotAdmitted {
    /// The same message is being handled.
    Duplicate,
    /// Too many messages of its sender are waiting.
    SenderLimit,
    /// Too many messages of strangers are waiting.
    StrangerLimit,
}

#[derive(Debug, Default)]
pub(super) struct InFlight {
    next: Ticket,
    messages: BTreeMap<Ticket, Entry>,
    ids: HashSet<EventId>,
    waiting: HashMap<(Lane, TradeKey), usize>,
    parties: usize,
    strangers: usize,
    named: HashSet<TradeKey>,
    named_since: Duration,
}

#[derive(Debug)]
struct Entry {
    event: EventId,
    rumor: Option<EventId>,
    /// Where it waits, once it has been opened and admitted.
    queue: Option<(Lane, TradeKey)>,
}

impl InFlight {
    /// Registers an event; none if the same one is in flight. The caller must finish the ticket.
    pub(super) fn arrive(&mut self, event: EventId) -> Option<Ticket> {
        if !self.ids.insert(event) {
            return None;
        }
        let ticket = self.next;
        self.next = self.next.wrapping_add(1);
        self.messages.insert(ticket, Entry { event, rumor: None, queue: None });
        Some(ticket)
    }

    /// Lets an opened message wait for its turn, unless a limit is reached.
    pub(super) fn admit(
        &mut self,
        ticket: Ticket,
        rumor: Option<EventId>,
        lane: Lane,
        sender: TradeKey,
    ) -> Result<(), NotAdmitted> {
        let Some(message) = self.messages.get_mut(&ticket) else { return Ok(()) };
        if let Some(rumor) = rumor {
            if !self.ids.insert(rumor) {
                return Err(NotAdmitted::Duplicate);
            }
            message.rumor = Some(rumor);
        }
        if lane.is_of_stranger() && self.strangers >= MAX_OF_STRANGERS {
            return Err(NotAdmitted::StrangerLimit);
        }
        let waiting = self.waiting.entry((lane, sender)).or_default();
        if *waiting >= MAX_PER_SENDER {
            return Err(NotAdmitted::SenderLimit);
        }
        *waiting += 1;
        *(if lane.is_of_stranger() { &mut self.strangers } else { &mut self.parties }) += 1;
        message.queue = Some((lane, sender));
        Ok(())
    }

    /// A message was decided or dropped.
    pub(super) fn finish(&mut self, ticket: Ticket) {
        let Some(Entry { event, rumor, queue }) = self.messages.remove(&ticket) else { return };
        self.ids.remove(&event);
        if let Some(rumor) = rumor {
            self.ids.remove(&rumor);
        }
        let Some(queue) = queue else { return };
        let count = if queue.0.is_of_stranger() { &mut self.strangers } else { &mut self.parties };
        *count = count.saturating_sub(1);
        if let Some(waiting) = self.waiting.get_mut(&queue) {
            *waiting = waiting.saturating_sub(1);
            if *waiting == 0 {
                self.waiting.remove(&queue);
            }
        }
    }

    /// A ticket above those of all registered messages and of the `unread` next ones.
    pub(super) fn mark(&self, unread: usize) -> Ticket {
        self.next.wrapping_add(u64::try_from(unread).unwrap_or(u64::MAX))
    }

    /// Whether every message below the mark is finished.
    pub(super) fn all_finished_before(&self, mark: Ticket) -> bool {
        self.next >= mark && self.messages.keys().next().is_none_or(|first| *first >= mark)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// How many messages of parties are waiting.
    pub(super) fn of_parties(&self) -> usize {
        self.parties
    }

    /// Whether a warning may name this sender now: a flood of messages must not flood the log.
    pub(super) fn may_warn_of(&mut self, sender: TradeKey, now: Duration) -> bool {
        if now.saturating_sub(self.named_since) >= WARNING_INTERVAL {
            self.named.clear();
            self.named_since = now;
        }
        self.named.len() < MAX_NAMED && self.named.insert(sender)
    }
}

#[cfg(test)]
mod tests {
    use trade::OrderId;

    use super::*;

    const ORDER: Lane = Lane::Order(OrderId([1; 16]));
    const BUYER: TradeKey = TradeKey([1; 32]);
    const SELLER: TradeKey = TradeKey([2; 32]);

    fn id(n: usize) -> EventId {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&n.to_be_bytes());
        EventId(id)
    }

    fn send(
        flight: &mut InFlight,
        n: usize,
        lane: Lane,
        sender: TradeKey,
    ) -> Result<(), NotAdmitted> {
        let ticket = flight.arrive(id(n)).ok_or(NotAdmitted::Duplicate)?;
        flight.admit(ticket, None, lane, sender).inspect_err(|_| flight.finish(ticket))
    }

    // spec: D42 INV-9
    #[test]
    fn the_limit_of_one_sender_does_not_affect_the_other_party() {
        let mut flight = InFlight::default();
        let results: Vec<_> =
            (0..=MAX_PER_SENDER).map(|n| send(&mut flight, n, ORDER, SELLER)).collect();

        assert!(results[..MAX_PER_SENDER].iter().all(Result::is_ok));
        assert_eq!(results[MAX_PER_SENDER], Err(NotAdmitted::SenderLimit));
        assert_eq!(send(&mut flight, 100, ORDER, BUYER), Ok(()));
    }

    // spec: D42
    #[test]
    fn a_finished_message_no_longer_counts() {
        let mut flight = InFlight::default();
        for n in 0..MAX_PER_SENDER {
            send(&mut flight, n, ORDER, SELLER).unwrap();
        }

        flight.finish(0);

        assert_eq!(send(&mut flight, 100, ORDER, SELLER), Ok(()));
        assert_eq!(flight.of_parties(), MAX_PER_SENDER);
    }

    // spec: D42 C25
    #[test]
    fn duplicates_of_a_message_do_not_count() {
        let mut flight = InFlight::default();
        let first = flight.arrive(id(1)).unwrap();
        assert_eq!(flight.arrive(id(1)), None, "from another relay");
        assert_eq!(flight.admit(first, Some(id(7)), ORDER, BUYER), Ok(()));

        let again = flight.arrive(id(2)).unwrap();
        let another_wrap = flight.admit(again, Some(id(7)), ORDER, BUYER);
        flight.finish(again);

        assert_eq!((another_wrap, flight.of_parties()), (Err(NotAdmitted::Duplicate), 1));
        flight.finish(first);
        assert!(flight.arrive(id(1)).is_some(), "from now on its id is in the database");
    }

    // spec: D42
    #[test]
    fn strangers_together_have_a_limit_that_traders_do_not_share() {
        let mut flight = InFlight::default();
        for n in 0..MAX_OF_STRANGERS {
            let mut key = [9; 32];
            key[..8].copy_from_slice(&n.to_be_bytes());
            send(&mut flight, n, Lane::Sender(TradeKey(key)), TradeKey(key)).unwrap();
        }

        let late = TradeKey([8; 32]);
        let refused = send(&mut flight, 1_000, Lane::Sender(late), late);
        assert_eq!(refused, Err(NotAdmitted::StrangerLimit));
        assert_eq!(send(&mut flight, 1_001, ORDER, BUYER), Ok(()));
    }

    // spec: D42
    #[test]
    fn a_mark_depends_on_the_messages_before_it_only() {
        let mut flight = InFlight::default();
        let first = flight.arrive(id(1)).unwrap();
        let mark = flight.mark(1);
        let unread = flight.arrive(id(2)).unwrap();
        let after = flight.arrive(id(3)).unwrap();
        flight.finish(unread);
        assert!(!flight.all_finished_before(mark));

        flight.finish(first);

        assert!(flight.all_finished_before(mark));
        assert!(!flight.all_finished_before(after + 1));
    }

    // spec: D42
    #[test]
    fn a_flood_of_messages_does_not_flood_the_log() {
        let mut flight = InFlight::default();
        let minute = WARNING_INTERVAL;
        assert!(flight.may_warn_of(BUYER, minute));
        assert!(!flight.may_warn_of(BUYER, minute));
        assert!(flight.may_warn_of(SELLER, minute));
        assert!(flight.may_warn_of(BUYER, minute * 2));

        let named = (10..100).filter(|n| flight.may_warn_of(TradeKey([*n; 32]), minute * 2));
        assert_eq!(named.count(), MAX_NAMED - 1);
    }
}
