//! What can happen to a daemon and its simulation: plain values, so that a failure can be told in a list.

use std::fmt::Write as _;

/// One thing that happens. Numbers that name nothing are harmless: then nothing happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    /// A maker puts the trade into the book.
    Make {
        trade: u8,
    },
    Say {
        trade: u8,
        who: Who,
        what: Said,
    },
    /// A relay hands on once more what was said so many messages ago.
    Duplicate {
        back: u8,
    },
    /// The seller's wallet pays the last hold invoice it was sent, and so many per mille more.
    Pay {
        trade: u8,
        over: u8,
    },
    /// The same, and so many msats less than was asked: another program on LND has it accept them, and
    /// LND's invoice shows what was asked. Only the channels show what came.
    Underpay {
        trade: u8,
        lacks: u64,
    },
    /// A payment of ours that is under way comes to its end.
    Resolve {
        nth: u8,
        how: End,
    },
    /// LND's streams tell so much of what they have to tell.
    Hear {
        news: u8,
    },
    /// Questions about payments that were asked at any time before are answered now.
    HearLate,
    /// The next call never reaches LND, and ends in an error.
    LoseRequest,
    /// LND does the next call and its answer is lost.
    LoseReply,
    /// The next call ends in an error, and reaches LND when [`Op::LnArrives`] says so.
    DelayRequest,
    LnArrives,
    /// The next call has no answer before [`Op::LnAnswersLate`], or is not made before.
    HangAfter,
    HangBefore,
    LnAnswersLate,
    /// LND answers no question.
    LndFails,
    LndIsBack,
    /// LND has no active channel, and pays nobody.
    PeersLeave,
    PeersReturn,
    /// Seconds pass.
    Advance {
        secs: u16,
    },
    /// Seconds without one, and then they are back.
    Offline {
        secs: u16,
    },
    /// No relay is heard from now on. They keep what is said until they are back.
    RelaysLeave,
    RelaysReturn,
    /// The clock of the daemon's machine is set so many seconds ahead of the right time, or behind.
    Clock {
        ahead: i32,
    },
    /// A client's clock is so many seconds ahead, or behind.
    Phone {
        trade: u8,
        who: Who,
        ahead: i16,
    },
    /// A party says so often what changes nothing.
    Flood {
        trade: u8,
        who: Who,
        times: u8,
    },
    /// LND answers every send of a payment with an error.
    LndRefuses,
    LndPaysAgain,
    Mine {
        blocks: u8,
    },
    /// The next messages are taken by no relay.
    RelayRefuses {
        times: u8,
    },
    /// The daemon dies after so many more steps and starts anew.
    Crash {
        steps: u8,
    },
    /// The daemon stops between two steps, and starts anew.
    Restart,
    /// The daemon compares its books with LND.
    Reconcile,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Who {
    Maker,
    Taker,
    /// Somebody else, who may take as well.
    Rival,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said {
    Take,
    TakeWithInvoice,
    /// How a buy order is taken, whatever the list says.
    TakeBuy,
    AddInvoice,
    FiatSent,
    Release,
    Cancel,
    Dispute,
}

/// How a payment ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Paid,
    NoRoute,
    Refused,
}

/// Chance with a seed (`SplitMix64`).
#[derive(Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`, which is not zero.
    pub(crate) fn below(&mut self, limit: u8) -> u8 {
        u8::try_from(self.draw() % u64::from(limit)).unwrap_or_default()
    }

    fn percent(&mut self, share: u8) -> bool {
        self.below(100) < share
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::from(self.below(u8::try_from(choices.len()).unwrap_or(u8::MAX)))]
    }
}

/// Trades side by side in one list.
pub(crate) const TRADES: u8 = 5;

/// A list for this seed: the scenarios of some trades, mixed, with faults in between.
pub(crate) fn draw(seed: u64) -> Vec<Op> {
    let mut chance = Chance::new(seed);
    let mut scenarios: Vec<_> = (0..TRADES).map(|trade| scenario(trade, &mut chance)).collect();
    // Drawn per list, from quiet to everything at once.
    let fault_share = chance.of(&[0, 10, 25, 45]);
    let mut ops = Vec::new();
    while !scenarios.is_empty() {
        let at = usize::from(chance.below(u8::try_from(scenarios.len()).unwrap_or(1)));
        ops.push(scenarios[at].remove(0));
        if scenarios[at].is_empty() {
            scenarios.remove(at);
        }
        while chance.percent(fault_share) {
            ops.push(fault(&mut chance));
        }
        if chance.percent(35) {
            ops.push(passing(&mut chance));
        }
    }
    ops
}

/// The list as it is written in a test.
pub(crate) fn text(ops: &[Op]) -> String {
    ops.iter().fold(String::new(), |mut text, op| {
        writeln!(text, "    {op:?},").expect("a string takes all");
        text
    })
}

/// Odd trades are buy orders.
pub(crate) fn is_buy(trade: u8) -> bool {
    trade % 2 == 1
}

fn scenario(trade: u8, chance: &mut Chance) -> Vec<Op> {
    let (buyer, seller) =
        if is_buy(trade) { (Who::Maker, Who::Taker) } else { (Who::Taker, Who::Maker) };
    let say = |who, what| Op::Say { trade, who, what };
    let mut scenario = vec![Op::Make { trade }];
    if chance.percent(20) {
        let who = chance.of(&[Who::Maker, Who::Taker]);
        scenario.push(Op::Phone { trade, who, ahead: chance.of(&[-800, -250, 250, 4_000]) });
    }
    if chance.percent(20) {
        scenario.push(say(Who::Rival, chance.of(&[Said::Take, Said::TakeWithInvoice])));
        scenario.push(say(Who::Rival, Said::Cancel));
    }
    let is_bare = chance.percent(50);
    scenario.push(say(Who::Taker, if is_bare { Said::Take } else { Said::TakeWithInvoice }));
    if is_bare && !is_buy(trade) {
        scenario.push(say(buyer, Said::AddInvoice));
    }
    let over = chance.of(&[0, 0, 0, 0, 5, 20]);
    scenario.push(match chance.below(12) {
        0 => Op::Underpay { trade, lacks: chance.of(&[1, 1_000, u64::MAX]) },
        _ => Op::Pay { trade, over },
    });
    scenario.push(Op::Hear { news: 4 });
    if is_buy(trade) {
        scenario.push(say(buyer, Said::AddInvoice));
    }
    if chance.percent(6) {
        // Said while nobody hears it, and heard when the escrow has reached its margin.
        scenario.extend([Op::RelaysLeave, say(buyer, Said::FiatSent)]);
        scenario.push(Op::Mine { blocks: 123 + chance.below(3) });
        scenario.extend(chance.percent(50).then_some(Op::Restart));
        scenario.push(Op::RelaysReturn);
    } else {
        scenario.push(say(buyer, Said::FiatSent));
    }
    scenario.push(say(seller, Said::Release));
    scenario.push(Op::Hear { news: 4 });
    for _ in 0..chance.below(3) {
        scenario.push(Op::Resolve { nth: 0, how: chance.of(&[End::NoRoute, End::Refused]) });
        scenario.push(Op::Hear { news: 4 });
        // The send that follows is on its way while LND is asked about it.
        let is_late = chance.percent(30);
        scenario.extend(is_late.then_some(Op::DelayRequest));
        scenario.push(say(buyer, Said::AddInvoice));
        scenario.extend(is_late.then_some(Op::Reconcile));
    }
    scenario.push(Op::Resolve { nth: 0, how: End::Paid });
    // Somebody says something out of turn, or does not say it at all.
    for _ in 0..chance.below(3) {
        let at = usize::from(chance.below(u8::try_from(scenario.len()).unwrap_or(1)));
        let who = chance.of(&[Who::Maker, Who::Taker, Who::Rival]);
        let all = [
            Said::Take,
            Said::TakeWithInvoice,
            Said::AddInvoice,
            Said::FiatSent,
            Said::Release,
            Said::Cancel,
            Said::Cancel,
        ];
        let what = chance.of(&all);
        match chance.below(4) {
            0 => drop(scenario.remove(at)),
            _ => scenario.insert(at, say(who, what)),
        }
    }
    scenario
}

fn fault(chance: &mut Chance) -> Op {
    match chance.below(20) {
        0 => Op::LoseRequest,
        1 | 2 => Op::LoseReply,
        3 => Op::DelayRequest,
        4 => Op::HangAfter,
        5 => Op::HangBefore,
        6 => Op::LndFails,
        7 => Op::Offline { secs: chance.of(&[20, 45, 400]) },
        8 => Op::RelayRefuses { times: 1 + chance.below(4) },
        9 => Op::Restart,
        10 => Op::Duplicate { back: chance.below(20) },
        11 => Op::PeersLeave,
        12 | 13 => Op::RelaysLeave,
        14 => Op::LndRefuses,
        15 => Op::Clock { ahead: chance.of(&AHEAD) },
        16 => Op::Flood {
            trade: chance.below(TRADES),
            who: chance.of(&[Who::Maker, Who::Taker, Who::Rival]),
            times: chance.of(&[3, 40]),
        },
        _ => Op::Crash { steps: chance.below(8) },
    }
}

/// How wrong a clock may be, from minutes to days.
const AHEAD: [i32; 8] = [-700_000, -100_000, -4_000, -400, 400, 4_000, 100_000, 700_000];

fn passing(chance: &mut Chance) -> Op {
    match chance.below(23) {
        0..=3 => Op::Hear { news: 1 + chance.below(4) },
        4 | 5 => Op::Reconcile,
        6..=8 => Op::Advance { secs: chance.of(&[2, 10, 20, 65, 140]) },
        9 => Op::Mine { blocks: chance.of(&[1, 3, 12, 40, 130]) },
        10 | 11 => Op::LnAnswersLate,
        12 => Op::LnArrives,
        13 | 14 => Op::LndIsBack,
        15 => Op::PeersReturn,
        16 => Op::HearLate,
        17 | 18 => Op::RelaysReturn,
        19 | 20 => Op::LndPaysAgain,
        21 => Op::Clock { ahead: 0 },
        _ => Op::Resolve { nth: chance.below(3), how: chance.of(&[End::Paid, End::NoRoute]) },
    }
}
