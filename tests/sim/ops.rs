//! The operations of a simulation as plain values, so that a failing list can be printed and pasted
//! into a test.

use std::fmt::Write as _;

/// One operation. Numbers that refer to nothing have no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    /// A maker creates the order.
    CreateOrder {
        trade: u8,
    },
    /// A trader sends a message about the order.
    Send {
        trade: u8,
        who: Who,
        action: ClientAction,
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
    /// The same with this many msats too few: an HTLC modifier makes LND accept the payment. LND's invoice
    /// shows the full amount, and only the channels show the real one.
    Underpay {
        trade: u8,
        missing: u64,
    },
    /// A payment in flight ends.
    Resolve {
        nth: u8,
        how: End,
    },
    /// LND's streams deliver up to this many updates.
    DeliverUpdates {
        max: u8,
    },
    /// The current status of every payment is delivered, also of those that are not watched any more.
    DeliverAllPayments,
    /// The next call ends in an error, and never reaches LND.
    LoseRequest,
    /// The next call takes effect and its answer is lost.
    LoseReply,
    /// The next call ends in an error, and reaches LND only at [`Op::DeliverDelayedRequest`].
    DelayRequest,
    DeliverDelayedRequest,
    /// The next call hangs until [`Op::ResumeHangingCall`], after its effect or before it.
    HangAfter,
    HangBefore,
    ResumeHangingCall,
    /// Every call and every lookup fails without reaching LND.
    LndUnreachable,
    LndReachable,
    /// LND has no active channel and sends no payment.
    PeersDisconnect,
    PeersReconnect,
    /// Seconds pass.
    Advance {
        secs: u16,
    },
    /// Seconds without any relay.
    Offline {
        secs: u16,
    },
    /// No relay is reachable from now on. They store messages until they are reachable again.
    RelaysUnreachable,
    RelaysReachable,
    /// Sets the daemon's clock this many seconds ahead of the right time, or behind it.
    SetDaemonClock {
        ahead: i32,
    },
    /// Sets a client's clock this many seconds ahead, or behind.
    SetClientClock {
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
    /// LND refuses to send any payment.
    LndRefusesPayments,
    LndAcceptsPayments,
    Mine {
        blocks: u8,
    },
    /// No relay accepts the next messages.
    RelaysRefuse {
        times: u8,
    },
    /// The daemon crashes after this many more steps and is restarted.
    Crash {
        steps: u8,
    },
    /// The daemon crashes between two steps and is restarted.
    Restart,
    /// The daemon looks up its holds and payments at LND.
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
pub(crate) enum ClientAction {
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
    // From no faults to several after each operation.
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
            ops.push(progress(&mut random));
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
    let send = |who, action| Op::Send { trade, who, action };
    let mut scenario = vec![Op::CreateOrder { trade }];
    if random.percent(20) {
        let who = random.of(&[Who::Maker, Who::Taker]);
        scenario.push(Op::SetClientClock {
            trade,
            who,
            ahead: random.of(&[-800, -250, 250, 4_000]),
        });
    }
    if random.percent(20) {
        scenario.push(send(
            Who::Rival,
            random.of(&[ClientAction::Take, ClientAction::TakeWithInvoice]),
        ));
        scenario.push(send(Who::Rival, ClientAction::Cancel));
    }
    let is_without_invoice = random.percent(50);
    scenario.push(send(
        Who::Taker,
        if is_without_invoice { ClientAction::Take } else { ClientAction::TakeWithInvoice },
    ));
    if is_without_invoice && !is_buy(trade) {
        scenario.push(send(buyer, ClientAction::AddInvoice));
    }
    let over = random.of(&[0, 0, 0, 0, 5, 20]);
    scenario.push(match random.below(12) {
        0 => Op::Underpay { trade, missing: random.of(&[1, 1_000, u64::MAX]) },
        _ => Op::Pay { trade, over },
    });
    scenario.push(Op::DeliverUpdates { max: 4 });
    if is_buy(trade) {
        scenario.push(send(buyer, ClientAction::AddInvoice));
    }
    if random.percent(6) {
        // Sent while no relay is reachable, and received when the escrow has reached its margin.
        scenario.extend([Op::RelaysUnreachable, send(buyer, ClientAction::FiatSent)]);
        scenario.push(Op::Mine { blocks: 123 + random.below(3) });
        scenario.extend(random.percent(50).then_some(Op::Restart));
        scenario.push(Op::RelaysReachable);
    } else {
        scenario.push(send(buyer, ClientAction::FiatSent));
    }
    scenario.push(send(seller, ClientAction::Release));
    scenario.push(Op::DeliverUpdates { max: 4 });
    for _ in 0..random.below(3) {
        scenario.push(Op::Resolve { nth: 0, how: random.of(&[End::NoRoute, End::Refused]) });
        scenario.push(Op::DeliverUpdates { max: 4 });
        // The payment is looked up at LND before the send reaches LND.
        let is_late = random.percent(30);
        scenario.extend(is_late.then_some(Op::DelayRequest));
        scenario.push(send(buyer, ClientAction::AddInvoice));
        scenario.extend(is_late.then_some(Op::Reconcile));
    }
    scenario.push(Op::Resolve { nth: 0, how: End::Paid });
    drop_and_add_messages(&mut scenario, trade, random);
    scenario
}

/// Some messages are missing, and others come at a wrong time.
fn drop_and_add_messages(scenario: &mut Vec<Op>, trade: u8, random: &mut Random) {
    for _ in 0..random.below(3) {
        let at = usize::from(random.below(u8::try_from(scenario.len()).unwrap_or(1)));
        let who = random.of(&[Who::Maker, Who::Taker, Who::Rival]);
        let all = [
            ClientAction::Take,
            ClientAction::TakeWithInvoice,
            ClientAction::AddInvoice,
            ClientAction::FiatSent,
            ClientAction::Release,
            ClientAction::Cancel,
            ClientAction::Cancel,
        ];
        let action = random.of(&all);
        match random.below(4) {
            0 => drop(scenario.remove(at)),
            _ => scenario.insert(at, Op::Send { trade, who, action }),
        }
    }
}

fn fault(random: &mut Random) -> Op {
    match random.below(20) {
        0 => Op::LoseRequest,
        1 | 2 => Op::LoseReply,
        3 => Op::DelayRequest,
        4 => Op::HangAfter,
        5 => Op::HangBefore,
        6 => Op::LndUnreachable,
        7 => Op::Offline { secs: random.of(&[20, 45, 400]) },
        8 => Op::RelaysRefuse { times: 1 + random.below(4) },
        9 => Op::Restart,
        10 => Op::Duplicate { back: random.below(20) },
        11 => Op::PeersDisconnect,
        12 | 13 => Op::RelaysUnreachable,
        14 => Op::LndRefusesPayments,
        15 => Op::SetDaemonClock { ahead: random.of(&AHEAD) },
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

fn progress(random: &mut Random) -> Op {
    match random.below(23) {
        0..=3 => Op::DeliverUpdates { max: 1 + random.below(4) },
        4 | 5 => Op::Reconcile,
        6..=8 => Op::Advance { secs: random.of(&[2, 10, 20, 65, 140]) },
        9 => Op::Mine { blocks: random.of(&[1, 3, 12, 40, 130]) },
        10 | 11 => Op::ResumeHangingCall,
        12 => Op::DeliverDelayedRequest,
        13 | 14 => Op::LndReachable,
        15 => Op::PeersReconnect,
        16 => Op::DeliverAllPayments,
        17 | 18 => Op::RelaysReachable,
        19 | 20 => Op::LndAcceptsPayments,
        21 => Op::SetDaemonClock { ahead: 0 },
        _ => Op::Resolve { nth: random.below(3), how: random.of(&[End::Paid, End::NoRoute]) },
    }
}
