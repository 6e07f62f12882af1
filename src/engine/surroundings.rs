//! What the stored state says of relays and LND at a given time.

use std::time::Duration;

use trade::{BlockHeight, Timestamp};

use crate::store::{DaemonState, StoreError, WriteTx};

/// How long after a relay was last reachable relays count as unreachable. That one is reachable is
/// written every ten seconds.
const UNREACHABLE_AFTER: Duration = Duration::from_secs(30);

/// How long the tip of the chain counts as known: longer than from one health check to the next,
/// shorter than it takes to find blocks that matter.
const TIP_LASTS: Duration = Duration::from_mins(1);

/// Whether a relay was reachable a moment ago: waiting deadlines run only then (D5).
#[must_use]
pub fn is_reachable(state: &DaemonState, now: Timestamp) -> bool {
    offline_for(state, now).is_none()
}

/// How long no relay was reachable, if that is long enough to matter; zero if it is not known.
pub(super) fn offline_for(state: &DaemonState, now: Timestamp) -> Option<Duration> {
    // If the clock ran ahead when it was written, it says nothing.
    let last = state.relays_reachable_at.filter(|at| *at <= now.after(UNREACHABLE_AFTER));
    let Some(last) = last else { return Some(Duration::ZERO) };
    Some(now.since(last)).filter(|gap| *gap > UNREACHABLE_AFTER)
}

/// Whether the known height was the tip a moment ago.
pub(super) fn is_at_tip(state: &DaemonState, now: Timestamp) -> bool {
    state.tip_seen_at.is_some_and(|at| at <= now && now.since(at) <= TIP_LASTS)
}

/// When LND was last unhealthy. If the clock ran ahead then, it may have been a moment ago.
pub(super) fn lnd_unhealthy_by(state: &DaemonState, now: Timestamp) -> Option<Timestamp> {
    state.lnd_unhealthy_at.map(|at| at.min(now))
}

/// This is the tip of our node's chain now.
pub(super) async fn set_tip(
    tx: &mut WriteTx<'_>,
    height: BlockHeight,
    now: Timestamp,
) -> Result<(), StoreError> {
    // Written by a clock that ran ahead, it would make LND seem unhealthy until that time.
    if tx.daemon_state().await?.lnd_unhealthy_at.is_some_and(|unhealthy| unhealthy > now) {
        tx.set_lnd_unhealthy_at(now).await?;
    }
    tx.set_height(height).await?;
    tx.set_tip_seen_at(now).await
}

/// The chain is at least so high; what is known already may be higher.
pub(super) async fn raise_height(
    tx: &mut WriteTx<'_>,
    height: BlockHeight,
) -> Result<(), StoreError> {
    if tx.daemon_state().await?.height < Some(height) {
        tx.set_height(height).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock as _;
    use crate::engine::Write;
    use crate::engine::tests::{EngineFixture, HEIGHT};

    // spec: D21 INV-1
    #[test]
    fn the_tip_of_the_chain_is_known_for_a_minute() {
        let state = DaemonState { tip_seen_at: Some(Timestamp(100)), ..DaemonState::default() };

        assert!(is_at_tip(&state, Timestamp(100)));
        assert!(is_at_tip(&state, Timestamp(160)));
        assert!(!is_at_tip(&state, Timestamp(161)));
        assert!(!is_at_tip(&state, Timestamp(99)), "it lies in the future");
        assert!(!is_at_tip(&DaemonState::default(), Timestamp(100)));
    }

    // spec: D5
    #[test]
    fn relays_count_as_reachable_for_thirty_seconds() {
        for (relays_reachable_at, reachable) in
            [(None, false), (Some(960), false), (Some(995), true)]
        {
            let relays_reachable_at = relays_reachable_at.map(Timestamp);
            let state = DaemonState { relays_reachable_at, ..DaemonState::default() };

            assert_eq!(
                is_reachable(&state, Timestamp(999)),
                reachable,
                "reachable at {relays_reachable_at:?}"
            );
        }
    }

    // spec: D24 D5 P9
    #[test]
    fn a_time_that_a_clock_wrote_which_ran_ahead_is_not_believed() {
        let ahead = Timestamp(3 * 86_400);
        let state = DaemonState {
            relays_reachable_at: Some(ahead),
            lnd_unhealthy_at: Some(ahead),
            ..DaemonState::default()
        };
        let now = Timestamp(1_000);

        assert_eq!(lnd_unhealthy_by(&state, now), Some(now), "perhaps now");
        assert_eq!(offline_for(&state, now), Some(Duration::ZERO), "it is not known");
        assert_eq!(lnd_unhealthy_by(&state, ahead), Some(ahead));
        assert_eq!(offline_for(&state, ahead.after(Duration::from_secs(30))), None);
    }

    // spec: D21
    #[tokio::test]
    async fn a_height_that_is_not_the_tip_raises_what_is_known_and_no_more() {
        let fixture = EngineFixture::new().await;
        let seen_at = fixture.clock.now();
        fixture.clock.advance(Duration::from_secs(1));
        for (height, known) in [(HEIGHT.before(1), HEIGHT), (HEIGHT.above(1), HEIGHT.above(1))] {
            fixture.engine.write(Write::RaiseHeight(height)).await.unwrap();

            let state = fixture.reader.daemon_state().await.unwrap();
            assert_eq!((state.height, state.tip_seen_at), (Some(known), Some(seen_at)));
        }
    }

    // spec: D24 P9
    #[tokio::test]
    async fn a_tip_takes_back_a_time_ahead_at_which_lnd_was_unhealthy() {
        let fixture = EngineFixture::new().await;
        let right = fixture.clock.now();
        fixture.clock.set(right.after(Duration::from_hours(72)));
        fixture.engine.write(Write::LndIsUnhealthy).await.unwrap();
        fixture.clock.set(right);

        fixture.engine.write(Write::SetTip(HEIGHT)).await.unwrap();

        let state = fixture.reader.daemon_state().await.unwrap();
        assert_eq!(state.lnd_unhealthy_at, Some(right));
    }
}
