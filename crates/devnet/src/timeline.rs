//! The output of a trade for people: one line per message, and a spinner while something is awaited.
//! Colour and spinner only on a terminal; `NO_COLOR` is respected.

use std::io::{IsTerminal as _, Write as _, stdout};
use std::time::Duration;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use mostro_core::message::Payload;
use tokio::time::Instant;

use crate::trader::{Received, on_the_wire};

/// The output. Clones write to the same place.
#[derive(Debug, Clone)]
pub struct Timeline {
    started: Instant,
    is_silent: bool,
    has_colour: bool,
    display: ProgressBar,
}

/// One line of the output.
#[derive(Debug, Default)]
pub struct Line<'a> {
    pub who: &'a str,
    /// `→` sent to the node, `←` received from it, `⚡` done over Lightning, `·` published.
    pub sign: &'a str,
    pub what: &'a str,
    pub status: Option<String>,
    pub sats: Option<i64>,
}

const FRAME: Duration = Duration::from_millis(80);

impl Timeline {
    /// On standard output.
    #[must_use]
    pub fn on_stdout() -> Self {
        let display = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}");
        display.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        let has_colour =
            stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|it| it.is_empty());
        Self { started: Instant::now(), is_silent: false, has_colour, display }
    }

    /// The same spinner without lines, for the trades that are not shown.
    #[must_use]
    pub fn silenced(&self) -> Self {
        Self { is_silent: true, ..self.clone() }
    }

    /// Shows a spinner with what is awaited.
    pub fn awaits(&self, who: &str, what: &str) {
        if !self.is_silent {
            self.display.enable_steady_tick(FRAME);
            self.display.set_message(format!("{who} waits for {what}"));
        }
    }

    /// Removes the spinner.
    pub fn awaits_nothing(&self) {
        self.display.finish_and_clear();
    }

    /// # Errors
    /// If standard output is closed.
    pub fn sent(&self, who: &str, action: &str, sats: Option<i64>) -> Result<()> {
        self.line(&Line { who, sign: "→", what: action, sats, status: None })
    }

    /// # Errors
    /// If standard output is closed.
    pub fn received(&self, who: &str, message: &Received) -> Result<()> {
        let order = match message.payload() {
            Some(Payload::Order(order) | Payload::PaymentRequest(Some(order), _, _)) => Some(order),
            _ => None,
        };
        self.line(&Line {
            who,
            sign: "←",
            what: &on_the_wire(&message.kind().action),
            status: order.and_then(|order| order.status).map(|status| status.to_string()),
            sats: order.map(|order| order.amount),
        })
    }

    /// # Errors
    /// If standard output is closed.
    pub fn published(&self, who: &str, what: &str, status: &str) -> Result<()> {
        let status = Some(status.to_owned());
        self.line(&Line { who, sign: "·", what, status, sats: None })
    }

    /// # Errors
    /// If standard output is closed.
    pub fn line(&self, line: &Line<'_>) -> Result<()> {
        if self.is_silent {
            return Ok(());
        }
        let ms = self.started.elapsed().as_millis();
        let Line { who, sign, what, .. } = line;
        let status = line.status.as_deref().unwrap_or_default();
        let sats = line.sats.map(|sats| format!("{} sat", grouped(sats))).unwrap_or_default();
        let time = self.paint("2", &format!("{ms:>7} ms"));
        let name = self.paint(colour_of(who), &format!("{who:<7}"));
        let text = format!("{time}  {name} {sign} {what:<30} {status:<22} {sats:>14}");
        self.print(text.trim_end())
    }

    /// Prints a heading or a remark.
    ///
    /// # Errors
    /// If standard output is closed.
    pub fn note(&self, text: &str) -> Result<()> {
        self.print(text)
    }

    /// Prints a success.
    ///
    /// # Errors
    /// If standard output is closed.
    pub fn good(&self, text: &str) -> Result<()> {
        self.print(&self.paint("32", text))
    }

    fn print(&self, text: &str) -> Result<()> {
        Ok(self.display.suspend(|| writeln!(stdout(), "{text}"))?)
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.has_colour { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

fn colour_of(who: &str) -> &'static str {
    match who {
        "seller" => "33",
        "buyer" => "36",
        _ => "35",
    }
}

/// `1234567` as `1 234 567`.
fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = if number < 0 { "-".to_owned() } else { String::new() };
    for (place, digit) in digits.char_indices() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_three() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1 234 567");
        assert_eq!(grouped(-1_000), "-1 000");
    }
}
