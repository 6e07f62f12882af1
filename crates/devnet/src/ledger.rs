//! Whether the daemon's books say what LND says.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};

use crate::{Lightning, Net};

/// The balance of each account of the daemon, in msat, as `mostrod check` prints it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ledger(BTreeMap<String, i64>);

impl Ledger {
    /// Reads the lines `ledger.<account> = <msat>`; others are for people. An account on which
    /// nothing was ever booked has none.
    ///
    /// # Errors
    /// If such a line holds no number.
    pub fn parse(text: &str) -> Result<Self> {
        let mut accounts = BTreeMap::new();
        for line in text.lines() {
            let Some(line) = line.strip_prefix("ledger.") else { continue };
            let (account, msat) = line.split_once(" = ").with_context(|| line.to_owned())?;
            accounts.insert(account.to_owned(), msat.parse().with_context(|| line.to_owned())?);
        }
        Ok(Self(accounts))
    }

    /// The balance of an account, 0 if nothing was ever booked on it.
    #[must_use]
    pub fn of(&self, account: &str) -> i64 {
        self.0.get(account).copied().unwrap_or_default()
    }
}

impl<L: Lightning> Net<L> {
    /// Once nothing is under way, compares the daemon's ledger with what its channels gained since
    /// they held `before_msat`, and asks the simulator whether any of its laws is broken. Returns
    /// the ledger.
    ///
    /// # Errors
    /// The first thing that does not agree.
    pub async fn audit(&self, before_msat: u64) -> Result<Ledger> {
        let now = self.quiet_msat().await?;
        let broken = self.lnd.broken_laws().await?;
        ensure!(broken.is_empty(), "the simulator's laws are broken: {broken:#?}");
        let gained = i64::try_from(now)? - i64::try_from(before_msat)?;
        let ledger = Ledger::parse(&self.daemon.check().await?)?;
        let booked = ledger.of("lightning");
        ensure!(
            booked == gained,
            "the daemon's ledger says that its channels gained {booked} msat; they gained {gained}"
        );
        Ok(ledger)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_of_the_ledger_are_read() {
        let text = "relays: 1\nledger.lightning = 60000\nledger.fee-income = -60000\n";

        let ledger = Ledger::parse(text).unwrap();

        assert_eq!(ledger.of("lightning"), 60_000);
        assert_eq!(ledger.of("fee-income"), -60_000);
        assert_eq!(ledger.of("buyer"), 0);
    }

    #[test]
    fn a_ledger_without_a_number_is_an_error() {
        assert!(Ledger::parse("ledger.lightning = locked\n").is_err());
    }
}
