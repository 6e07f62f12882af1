//! Does LND's chain grow? Blocks guard the escrows, so without blocks nothing does (E5).

use std::time::Duration;

use trade::BlockHeight;

/// Blocks take ten minutes; one in eight thousand takes so long.
const STANDSTILL: Duration = Duration::from_mins(90);

#[derive(Debug)]
pub(super) struct BlockProgress {
    height: Option<BlockHeight>,
    /// In monotonic time.
    moved_at: Duration,
    stands: bool,
}

/// What is to be said of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Stands,
    Moves,
}

impl BlockProgress {
    pub(super) fn new(now: Duration) -> Self {
        Self { height: None, moved_at: now, stands: false }
    }

    /// Takes in the height as of `now`, in monotonic time; `None` if LND does not tell. A standstill
    /// is said once, and its end.
    pub(super) fn hear(&mut self, height: Option<BlockHeight>, now: Duration) -> Option<Change> {
        if height.is_some() && height != self.height {
            (self.height, self.moved_at) = (height, now);
            return std::mem::take(&mut self.stands).then_some(Change::Moves);
        }
        if self.stands || now.saturating_sub(self.moved_at) < STANDSTILL {
            return None;
        }
        self.stands = true;
        Some(Change::Stands)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: u64) -> Duration {
        Duration::from_mins(minutes)
    }

    // spec: E5
    #[test]
    fn a_chain_that_stands_for_ninety_minutes_is_said_once_and_so_is_its_end() {
        let mut chain = BlockProgress::new(at(0));
        let (first, next) = (Some(BlockHeight(7)), Some(BlockHeight(8)));
        assert_eq!(chain.hear(first, at(10)), None);
        assert_eq!(chain.hear(first, at(99)), None);

        assert_eq!(chain.hear(first, at(100)), Some(Change::Stands));
        assert_eq!(chain.hear(first, at(300)), None);
        assert_eq!(chain.hear(next, at(301)), Some(Change::Moves));
        assert_eq!(chain.hear(next, at(390)), None);
        assert_eq!(chain.hear(next, at(391)), Some(Change::Stands), "another one");
    }

    // spec: E5
    #[test]
    fn a_chain_that_nobody_tells_of_stands() {
        let mut chain = BlockProgress::new(at(0));
        assert_eq!(chain.hear(None, at(89)), None);
        assert_eq!(chain.hear(None, at(90)), Some(Change::Stands));
        assert_eq!(chain.hear(Some(BlockHeight(7)), at(91)), Some(Change::Moves));
    }
}
