//! Messages from their arrival to their end: each one once, and of each sender so many (D42).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use trade::TradeKey;

use super::Ticket;
use super::lanes::Lane;
use crate::store::EventId;

/// Messages of one sender that may wait, about one order. Nobody has so much to say at once.
const PER_SENDER: usize = 32;

/// Messages of strangers that may wait, of all of them together: they keep no trader waiting.
const OF_STRANGERS: usize = 512;

/// How long who was named in a warning is not named again, and how many are named in that time.
const QUIET: Duration = Duration::from_mins(1);
const NAMED: usize = 16;

/// Why a message is not handled. It is judged with that: nobody asks for it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dropped {
    /// The same message is being handled.
    Copy,
    /// Its sender has too many that wait.
    TooMany,
    /// Too many strangers have something to say.
    Crowded,
}

#[derive(Debug, Default)]
pub(super) struct InFlight {
    next: Ticket,
    messages: BTreeMap<Ticket, Message>,
    ids: HashSet<EventId>,
    waiting: HashMap<(Lane, TradeKey), usize>,
    parties: usize,
    strangers: usize,
    named: HashSet<TradeKey>,
    named_since: Duration,
}

#[derive(Debug)]
struct Message {
    event: EventId,
    rumor: Option<EventId>,
    /// Where it waits, once it was opened and admitted.
    place: Option<(Lane, TradeKey)>,
}

impl InFlight {
    /// An event was read; none if the same one is in flight. Whoever gets a ticket ends it.
    pub(super) fn arrive(&mut self, event: EventId) -> Option<Ticket> {
        if !self.ids.insert(event) {
            return None;
        }
        let ticket = self.next;
        self.next = self.next.wrapping_add(1);
        self.messages.insert(ticket, Message { event, rumor: None, place: None });
        Some(ticket)
    }

    /// A message was opened and wants to wait for its turn.
    pub(super) fn admit(
        &mut self,
        ticket: Ticket,
        rumor: Option<EventId>,
        lane: Lane,
        sender: TradeKey,
    ) -> Result<(), Dropped> {
        let Some(message) = self.messages.get_mut(&ticket) else { return Ok(()) };
        if let Some(rumor) = rumor {
            if !self.ids.insert(rumor) {
                return Err(Dropped::Copy);
            }
            message.rumor = Some(rumor);
        }
        if lane.is_of_stranger() && self.strangers >= OF_STRANGERS {
            return Err(Dropped::Crowded);
        }
        let waiting = self.waiting.entry((lane, sender)).or_default();
        if *waiting >= PER_SENDER {
            return Err(Dropped::TooMany);
        }
        *waiting += 1;
        *(if lane.is_of_stranger() { &mut self.strangers } else { &mut self.parties }) += 1;
        message.place = Some((lane, sender));
        Ok(())
    }

    /// A message was decided or judged.
    pub(super) fn end(&mut self, ticket: Ticket) {
        let Some(Message { event, rumor, place }) = self.messages.remove(&ticket) else { return };
        self.ids.remove(&event);
        if let Some(rumor) = rumor {
            self.ids.remove(&rumor);
        }
        let Some(place) = place else { return };
        let count = if place.0.is_of_stranger() { &mut self.strangers } else { &mut self.parties };
        *count = count.saturating_sub(1);
        if let Some(waiting) = self.waiting.get_mut(&place) {
            *waiting = waiting.saturating_sub(1);
            if *waiting == 0 {
                self.waiting.remove(&place);
            }
        }
    }

    /// All that has arrived, and so many more, will have got tickets below this one.
    pub(super) fn mark(&self, unread: usize) -> Ticket {
        self.next.wrapping_add(u64::try_from(unread).unwrap_or(u64::MAX))
    }

    /// Whether every message below the mark has come to its end.
    pub(super) fn are_ended_before(&self, mark: Ticket) -> bool {
        self.next >= mark && self.messages.keys().next().is_none_or(|first| *first >= mark)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Messages of parties that wait.
    pub(super) fn of_parties(&self) -> usize {
        self.parties
    }

    /// Whether a warning may name this sender now: so that a flood of messages is none of the log.
    pub(super) fn may_name(&mut self, sender: TradeKey, now: Duration) -> bool {
        if now.saturating_sub(self.named_since) >= QUIET {
            self.named.clear();
            self.named_since = now;
        }
        self.named.len() < NAMED && self.named.insert(sender)
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

    fn says(flight: &mut InFlight, n: usize, lane: Lane, sender: TradeKey) -> Result<(), Dropped> {
        let ticket = flight.arrive(id(n)).ok_or(Dropped::Copy)?;
        flight.admit(ticket, None, lane, sender).inspect_err(|_| flight.end(ticket))
    }

    // spec: D42 INV-9
    #[test]
    fn a_sender_who_says_too_much_keeps_no_other_party_from_speaking() {
        let mut flight = InFlight::default();
        let said: Vec<_> = (0..=PER_SENDER).map(|n| says(&mut flight, n, ORDER, SELLER)).collect();

        assert!(said[..PER_SENDER].iter().all(Result::is_ok));
        assert_eq!(said[PER_SENDER], Err(Dropped::TooMany));
        assert_eq!(says(&mut flight, 100, ORDER, BUYER), Ok(()));
    }

    // spec: D42
    #[test]
    fn what_was_handled_makes_room_for_more() {
        let mut flight = InFlight::default();
        for n in 0..PER_SENDER {
            says(&mut flight, n, ORDER, SELLER).unwrap();
        }

        flight.end(0);

        assert_eq!(says(&mut flight, 100, ORDER, SELLER), Ok(()));
        assert_eq!(flight.of_parties(), PER_SENDER);
    }

    // spec: D42 C25
    #[test]
    fn copies_of_a_message_do_not_count() {
        let mut flight = InFlight::default();
        let first = flight.arrive(id(1)).unwrap();
        assert_eq!(flight.arrive(id(1)), None, "from another relay");
        assert_eq!(flight.admit(first, Some(id(7)), ORDER, BUYER), Ok(()));

        let again = flight.arrive(id(2)).unwrap();
        let another_wrap = flight.admit(again, Some(id(7)), ORDER, BUYER);
        flight.end(again);

        assert_eq!((another_wrap, flight.of_parties()), (Err(Dropped::Copy), 1));
        flight.end(first);
        assert!(flight.arrive(id(1)).is_some(), "the memory on disk knows it from now on");
    }

    // spec: D42
    #[test]
    fn strangers_together_have_a_limit_that_traders_do_not_share() {
        let mut flight = InFlight::default();
        for n in 0..OF_STRANGERS {
            let mut key = [9; 32];
            key[..8].copy_from_slice(&n.to_be_bytes());
            says(&mut flight, n, Lane::Sender(TradeKey(key)), TradeKey(key)).unwrap();
        }

        let late = TradeKey([8; 32]);
        assert_eq!(says(&mut flight, 1_000, Lane::Sender(late), late), Err(Dropped::Crowded));
        assert_eq!(says(&mut flight, 1_001, ORDER, BUYER), Ok(()));
    }

    // spec: D42
    #[test]
    fn a_mark_is_passed_when_all_before_it_has_ended_whatever_comes_after() {
        let mut flight = InFlight::default();
        let first = flight.arrive(id(1)).unwrap();
        let mark = flight.mark(1);
        let unread = flight.arrive(id(2)).unwrap();
        let after = flight.arrive(id(3)).unwrap();
        flight.end(unread);
        assert!(!flight.are_ended_before(mark));

        flight.end(first);

        assert!(flight.are_ended_before(mark));
        assert!(!flight.are_ended_before(after + 1));
    }

    // spec: D42
    #[test]
    fn a_flood_of_messages_is_no_flood_of_warnings() {
        let mut flight = InFlight::default();
        let minute = QUIET;
        assert!(flight.may_name(BUYER, minute));
        assert!(!flight.may_name(BUYER, minute));
        assert!(flight.may_name(SELLER, minute));
        assert!(flight.may_name(BUYER, minute * 2));

        let named = (10..100).filter(|n| flight.may_name(TradeKey([*n; 32]), minute * 2));
        assert_eq!(named.count(), NAMED - 1);
    }
}
