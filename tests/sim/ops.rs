//! The operations of a simulation as plain values, so that a failure can be printed as a list.

use std::fmt::Write as _;

/// One operation. Numbers that refer to nothing have no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    /// A maker creates the order.
    Make {
        trade: u8,
    },
    Say {
        trade: u8,
        who: Who,
        what: Said,
    },
    /// A relay sends an old message again, this many messages back.
    Duplicate {
        back: u8,
    },
    /// The seller's wallet pays the newest hold invoice, and `over` per mille more.
    Pay {
        trade: u8,
        over: u8,
    },
    /// The same with `lacks` msats less: an HTLC modifier makes LND accept them, and LND's invoice shows
    /// the full amount. Only the channels show the real one.
    Underpay {
        trade: u8,
        lacks: u64,
    },
    /// A payment in flight ends.
    Resolve {
        nth: u8,
        how: End,
    },
    /// LND's streams deliver up to this many updates.
    Hear {
        news: u8,
    },
    /// Old lookups of payments are answered now.
    HearLate,
    /// The next call never reaches LND, and ends in an error.
    LoseRequest,
    /// The next call takes effect and its answer is lost.
    LoseReply,
    /// The next call ends in an error, and reaches LND only at [`Op::LnArrives`].
    DelayRequest,
    LnArrives,
    /// The next call hangs until [`Op::LnAnswersLate`], after its effect or before.
    HangAfter,
    HangBefore,
    LnAnswersLate,
    /// LND answers no lookup.
    LndFails,
    LndIsBack,
    /// LND has no active channel and sends no payment.
    PeersLeave,
    PeersReturn,
    /// Seconds pass.
    Advance {
        secs: u16,
    },
    /// Seconds without any relay.
    Offline {
        secs: u16,
    },
    /// No relay is reachable from now on. They store messages until they are reachable again.
    RelaysLeave,
    RelaysReturn,
    /// Sets the daemon's clock this many seconds ahead of the right time, or behind it.
    Clock {
        ahead: i32,
    },
    /// Sets a client's clock this many seconds ahead, or behind.
    ClientClock {
        trade: u8,
        who: Who,
        ahead: i16,
    },
    /// A party sends many messages without effect.
    Flood {
        trade: u8,
        who: Who,
        times: u8,
    },
    /// LND refuses every send of a payment.
    LndRefuses,
    LndPaysAgain,
    Mine {
        blocks: u8,
    },
    /// No relay accepts the next messages.
    RelayRefuses {
        times: u8,
    },
    /// The daemon crashes after this many more steps and is restarted.
    Crash {
        steps: u8,
    },
    /// The daemon crashes between two steps and is restarted.
    Restart,
    /// The daemon compares its holds and payments with LND.
    Reconcile,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Who {
    Maker,
    Taker,
    /// Another trader, who can take too.
    Rival,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said {
    Take,
    TakeWithInvoice,
    /// The take of a buy order; other takes become this one.
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

/// A random generator with a seed (`SplitMix64`).
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
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

/// Concurrent trades in one list.
pub(crate) const TRADES: u8 = 5;

/// A list for this seed: the scenarios of some trades, interleaved, with faults between them.
pub(crate) fn draw(seed: u64) -> Vec<Op> {
    let mut random = Random::new(seed);
    let mut scenarios: Vec<_> = (0..TRADES).map(|trade| scenario(trade, &mut random)).collect();
    // Drawn per list, from quiet to everything at once.
    let fault_share = random.of(&[0, 10, 25, 45]);
    let mut ops = Vec::new();
    while !scenarios.is_empty() {
        let at = usize::from(random.below(u8::try_from(scenarios.len()).unwrap_or(1)));
        ops.push(scenarios[at].remove(0));
        if scenarios[at].is_empty() {
            scenarios.remove(at);
        }
        while random.percent(fault_share) {
            ops.push(fault(&mut random));
        }
        if random.percent(35) {
            ops.push(passing(&mut random));
        }
    }
    ops
}

/// The list as Rust code for a test.
pub(crate) fn text(ops: &[Op]) -> String {
    ops.iter().fold(String::new(), |mut text, op| {
        writeln!(text, "    {op:?},").expect("a string can be written");
        text
    })
}

/// Odd trades are buy orders.
pub(crate) fn is_buy(trade: u8) -> bool {
    trade % 2 == 1
}

fn scenario(trade: u8, random: &mut Random) -> Vec<Op> {
    let (buyer, seller) =
        if is_buy(trade) { (Who::Maker, Who::Taker) } else { (Who::Taker, Who::Maker) };
    let say = |who, what| Op::Say { trade, who, what };
    let mut scenario = vec![Op::Make { trade }];
    if random.percent(20) {
        let who = random.of(&[Who::Maker, Who::Taker]);
        scenario.push(Op::ClientClock { trade, who, ahead: random.of(&[-800, -250, 250, 4_000]) });
    }
    if random.percent(20) {
        scenario.push(say(Who::Rival, random.of(&[Said::Take, Said::TakeWithInvoice])));
        scenario.push(say(Who::Rival, Said::Cancel));
    }
    let is_bare = random.percent(50);
    scenario.push(say(Who::Taker, if is_bare { Said::Take } else { Said::TakeWithInvoice }));
    if is_bare && !is_buy(trade) {
        scenario.push(say(buyer, Said::AddInvoice));
    }
    let over = random.of(&[0, 0, 0, 0, 5, 20]);
    scenario.push(match random.below(12) {
        0 => Op::Underpay { trade, lacks: random.of(&[1, 1_000, u64::MAX]) },
        _ => Op::Pay { trade, over },
    });
    scenario.push(Op::Hear { news: 4 });
    if is_buy(trade) {
        scenario.push(say(buyer, Said::AddInvoice));
    }
    if random.percent(6) {
        // Sent without a reachable relay, and received when the escrow has reached its margin.
        scenario.extend([Op::RelaysLeave, say(buyer, Said::FiatSent)]);
        scenario.push(Op::Mine { blocks: 123 + random.below(3) });
        scenario.extend(random.percent(50).then_some(Op::Restart));
        scenario.push(Op::RelaysReturn);
    } else {
        scenario.push(say(buyer, Said::FiatSent));
    }
    scenario.push(say(seller, Said::Release));
    scenario.push(Op::Hear { news: 4 });
    for _ in 0..random.below(3) {
        scenario.push(Op::Resolve { nth: 0, how: random.of(&[End::NoRoute, End::Refused]) });
        scenario.push(Op::Hear { news: 4 });
        // LND is asked about the send that follows before it arrives.
        let is_late = random.percent(30);
        scenario.extend(is_late.then_some(Op::DelayRequest));
        scenario.push(say(buyer, Said::AddInvoice));
        scenario.extend(is_late.then_some(Op::Reconcile));
    }
    scenario.push(Op::Resolve { nth: 0, how: End::Paid });
    // Messages out of order, and missing ones.
    for _ in 0..random.below(3) {
        let at = usize::from(random.below(u8::try_from(scenario.len()).unwrap_or(1)));
        let who = random.of(&[Who::Maker, Who::Taker, Who::Rival]);
        let all = [
            Said::Take,
            Said::TakeWithInvoice,
            Said::AddInvoice,
            Said::FiatSent,
            Said::Release,
            Said::Cancel,
            Said::Cancel,
        ];
        let what = random.of(&all);
        match random.below(4) {
            0 => drop(scenario.remove(at)),
            _ => scenario.insert(at, say(who, what)),
        }
    }
    scenario
}

fn fault(random: &mut Random) -> Op {
    match random.below(20) {
        0 => Op::LoseRequest,
        1 | 2 => Op::LoseReply,
        3 => Op::DelayRequest,
        4 => Op::HangAfter,
        5 => Op::HangBefore,
        6 => Op::LndFails,
        7 => Op::Offline { secs: random.of(&[20, 45, 400]) },
        8 => Op::RelayRefuses { times: 1 + random.below(4) },
        9 => Op::Restart,
        10 => Op::Duplicate { back: random.below(20) },
        11 => Op::PeersLeave,
        12 | 13 => Op::RelaysLeave,
        14 => Op::LndRefuses,
        15 => Op::Clock { ahead: random.of(&AHEAD) },
        16 => Op::Flood {
            trade: random.below(TRADES),
            who: random.of(&[Who::Maker, Who::Taker, Who::Rival]),
            times: random.of(&[3, 40]),
        },
        _ => Op::Crash { steps: random.below(8) },
    }
}

/// How wrong a clock may be, from minutes to days.
const AHEAD: [i32; 8] = [-700_000, -100_000, -4_000, -400, 400, 4_000, 100_000, 700_000];

fn passing(random: &mut Random) -> Op {
    match random.below(23) {
        0..=3 => Op::Hear { news: 1 + random.below(4) },
        4 | 5 => Op::Reconcile,
        6..=8 => Op::Advance { secs: random.of(&[2, 10, 20, 65, 140]) },
        9 => Op::Mine { blocks: random.of(&[1, 3, 12, 40, 130]) },
        10 | 11 => Op::LnAnswersLate,
        12 => Op::LnArrives,
        13 | 14 => Op::LndIsBack,
        15 => Op::PeersReturn,
        16 => Op::HearLate,
        17 | 18 => Op::RelaysReturn,
        19 | 20 => Op::LndPaysAgain,
        21 => Op::Clock { ahead: 0 },
        _ => Op::Resolve { nth: random.below(3), how: random.of(&[End::Paid, End::NoRoute]) },
    }
}
