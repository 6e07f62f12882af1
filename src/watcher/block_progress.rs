//! Whether LND reports new blocks: escrow deadlines are block heights, so without blocks they are missed.

use std::time::Duration;

use trade::BlockHeight;

/// Blocks take ten minutes; one in eight thousand takes this long.
const STALL_TIMEOUT: Duration = Duration::from_mins(90);

#[derive(Debug)]
pub(super) struct BlockProgress {
    height: Option<BlockHeight>,
    /// In monotonic time.
    changed_at: Duration,
    is_stalled: bool,
}

/// What is to be logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    Stalled,
    Resumed,
}

impl BlockProgress {
    pub(super) fn new(now: Duration) -> Self {
        Self { height: None, changed_at: now, is_stalled: false }
    }

    /// Updates the height as of `now`, in monotonic time; `None` if LND does not answer. Returns the
    /// beginning and the end of a stall, each once.
    pub(super) fn update(
        &mut self,
        height: Option<BlockHeight>,
        now: Duration,
    ) -> Option<Progress> {
        if height.is_some() && height != self.height {
            (self.height, self.changed_at) = (height, now);
            return std::mem::take(&mut self.is_stalled).then_some(Progress::Resumed);
        }
        if self.is_stalled || now.saturating_sub(self.changed_at) < STALL_TIMEOUT {
            return None;
        }
        self.is_stalled = true;
        Some(Progress::Stalled)
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
    fn ninety_minutes_without_a_block_are_reported_once_and_their_end_too() {
        let mut progress = BlockProgress::new(at(0));
        let (first, next) = (Some(BlockHeight(7)), Some(BlockHeight(8)));
        assert_eq!(progress.update(first, at(10)), None);
        assert_eq!(progress.update(first, at(99)), None);

        assert_eq!(progress.update(first, at(100)), Some(Progress::Stalled));
        assert_eq!(progress.update(first, at(300)), None);
        assert_eq!(progress.update(next, at(301)), Some(Progress::Resumed));
        assert_eq!(progress.update(next, at(390)), None);
        assert_eq!(progress.update(next, at(391)), Some(Progress::Stalled), "another one");
    }

    // spec: E5
    #[test]
    fn ninety_minutes_without_an_answer_are_reported_too() {
        let mut progress = BlockProgress::new(at(0));
        assert_eq!(progress.update(None, at(89)), None);
        assert_eq!(progress.update(None, at(90)), Some(Progress::Stalled));
        assert_eq!(progress.update(Some(BlockHeight(7)), at(91)), Some(Progress::Resumed));
    }
}
