use trade::{
    Alarm, Effect, FrozenBecause, LnCommand, Notice, OrderId, OrderView, Outcome, PaymentHash,
    Refusal, Reputation, Sats, Status, Timestamp, TradeKey,
};

use super::{Disk, awaiting_hold, ended, hash, pending, spoken};
use crate::store::{
    Act, Class, Delivery, EventId, Notification, OutboxId, OutboxRow, PublicationId, Published,
    Sealed, StoreError, Stuck, Transport,
};

const BUYER: TradeKey = TradeKey([21; 32]);
const SELLER: TradeKey = TradeKey([22; 32]);

fn tell(to: TradeKey, notice: Notice) -> Effect {
    Effect::Notify { to, request_id: Some(u64::MAX), trade_index: Some(4), notice }
}

/// The act for [`tell`].
fn told(to: TradeKey, notice: &Notice) -> Act {
    Act::Notify { to, text: spoken(notice, Some(pending(1).id), Some(u64::MAX), Some(4)) }
}

fn settle(n: u8) -> Effect {
    Effect::Lightning(LnCommand::EndHold { hash: hash(n) })
}

/// A database with one order that has these effects.
async fn with_effects(effects: Vec<Effect>) -> Disk {
    let mut disk = Disk::new().await;
    disk.create(&pending(1)).await;
    disk.save(&awaiting_hold(1, 9), effects).await.unwrap();
    disk
}

async fn due(disk: &Disk, now: i64) -> Vec<OutboxRow> {
    disk.due(now).await
}

async fn finish(disk: &mut Disk, id: OutboxId) {
    let mut tx = disk.begin().await;
    assert!(tx.finish_act(id, Timestamp(50)).await.unwrap());
    tx.commit().await.unwrap();
}

fn sealed(event: &str) -> Sealed {
    Sealed { event: event.to_owned(), written_at: Timestamp(3), expires_at: Timestamp(99) }
}

fn lanes(rows: &[OutboxRow]) -> Vec<&str> {
    rows.iter().map(|row| row.lane.as_str()).collect()
}

// spec: INV-7
#[tokio::test]
async fn a_lane_is_done_in_order_of_commitment() {
    let mut disk = with_effects(vec![
        tell(BUYER, Notice::Released),
        tell(BUYER, Notice::Rate),
        tell(SELLER, Notice::Canceled),
    ])
    .await;

    let first = due(&disk, 2).await;
    assert_eq!(lanes(&first), [format!("dm:{BUYER}"), format!("dm:{SELLER}")]);

    finish(&mut disk, first[0].id).await;
    let rows = due(&disk, 50).await;
    let next = rows.into_iter().find(|row| row.lane == first[0].lane).unwrap();
    assert_eq!(next.act, told(BUYER, &Notice::Rate));
}

#[tokio::test]
async fn a_failure_blocks_only_its_own_lane() {
    let mut disk = with_effects(vec![settle(9), settle(9), settle(8)]).await;
    let first = due(&disk, 2).await[0].id;
    let mut tx = disk.begin().await;
    tx.retry_act(first, Timestamp(30)).await.unwrap();
    tx.commit().await.unwrap();

    assert_eq!(lanes(&due(&disk, 29).await), [format!("ln:{}", hash(8))]);
    let again = due(&disk, 30).await.pop().unwrap();
    assert_eq!((again.id, again.attempts), (first, 1));
}

// spec: INV-6 I8
#[tokio::test]
async fn undone_acts_are_still_due_after_a_restart() {
    let disk = with_effects(vec![settle(9)]).await;

    let disk = disk.reopened().await;

    let settle = Act::Lightning(LnCommand::EndHold { hash: hash(9) });
    assert_eq!(due(&disk, 2).await[0].act, settle);
}

#[tokio::test]
async fn done_acts_are_not_due() {
    let mut disk = with_effects(vec![settle(9)]).await;
    let row = due(&disk, 2).await.remove(0);
    finish(&mut disk, row.id).await;

    assert_eq!(due(&disk, 1_000).await, []);
    let mut tx = disk.begin().await;
    assert!(!tx.finish_act(row.id, Timestamp(51)).await.unwrap(), "it was done before");
}

#[tokio::test]
async fn the_time_of_the_first_try_of_an_act_is_kept() {
    let mut disk = with_effects(vec![settle(9)]).await;
    let id = due(&disk, 2).await[0].id;
    for at in [7, 8] {
        let mut tx = disk.begin().await;
        tx.begin_act(id, Timestamp(at)).await.unwrap();
        tx.commit().await.unwrap();
    }

    assert_eq!(due(&disk, 9).await[0].begun_at, Some(Timestamp(7)));
}

// spec: INV-6
#[tokio::test]
async fn a_message_is_sealed_once() {
    let mut disk = with_effects(vec![tell(BUYER, Notice::Rate)]).await;
    let id = due(&disk, 2).await[0].id;
    let mut tx = disk.begin().await;
    tx.seal_message(id, &sealed("{first}")).await.unwrap();
    tx.commit().await.unwrap();

    let mut tx = disk.begin().await;
    let error = tx.seal_message(id, &sealed("{second}")).await.unwrap_err();
    drop(tx);

    assert!(matches!(error, StoreError::Forbidden(_)), "{error}");
    let row = due(&disk, 2).await.remove(0);
    assert_eq!((row.event.as_deref(), row.expires_at), (Some("{first}"), Some(Timestamp(99))));
}

// spec: D31 INV-6
#[tokio::test]
async fn a_message_whose_date_is_refused_is_resealed_with_the_same_expiration() {
    let mut disk = with_effects(vec![tell(BUYER, Notice::Rate)]).await;
    let id = due(&disk, 2).await[0].id;
    let mut tx = disk.begin().await;
    tx.seal_message(id, &sealed("{first}")).await.unwrap();
    let anew = Sealed { expires_at: Timestamp(500), ..sealed("{second}") };
    tx.seal_message_anew(id, &anew).await.unwrap();
    tx.commit().await.unwrap();

    let row = due(&disk, 2).await.remove(0);
    assert_eq!((row.event.as_deref(), row.expires_at), (Some("{second}"), Some(Timestamp(99))));
    assert_eq!(row.written_at, Some(Timestamp(3)));
}

// spec: D41
#[tokio::test]
async fn retries_postponed_by_a_fast_clock_are_due_once_the_clock_is_right() {
    let mut disk = with_effects(vec![settle(9), tell(BUYER, Notice::Rate)]).await;
    let (far, near) = (due(&disk, 2).await[0].id, due(&disk, 2).await[1].id);
    let mut tx = disk.begin().await;
    tx.retry_act(far, Timestamp(90_000)).await.unwrap();
    tx.retry_act(near, Timestamp(60)).await.unwrap();
    tx.retry_publication(PublicationId::Order(pending(1).id), Timestamp(90_000)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(due(&disk, 10).await, []);

    let mut tx = disk.begin().await;
    tx.retry_acts_that_lie_ahead(Timestamp(10)).await.unwrap();
    tx.retry_publications_that_lie_ahead(Timestamp(10)).await.unwrap();
    tx.commit().await.unwrap();

    let due = due(&disk, 10).await;
    assert_eq!(due.iter().map(|row| row.id).collect::<Vec<_>>(), [far], "the other waits its time");
    assert_eq!(disk.reader.list_publications_due(Timestamp(10), 9).await.unwrap().len(), 1);
}

// spec: INV-6
#[tokio::test]
async fn events_accepted_by_relays_are_listed_until_they_expire() {
    let messages = (1..=4).map(|n| tell(TradeKey([n; 32]), Notice::Rate));
    let mut disk = with_effects(messages.collect()).await;
    let ids: Vec<_> = due(&disk, 2).await.iter().map(|row| row.id).collect();
    let mut tx = disk.begin().await;
    for (id, text) in ids.iter().zip(["long ago", "first", "second", "on its way"]) {
        tx.seal_message(*id, &sealed(text)).await.unwrap();
    }
    for (id, at) in ids.iter().zip([49, 50, 51]) {
        assert!(tx.finish_act(*id, Timestamp(at)).await.unwrap());
    }
    tx.commit().await.unwrap();

    let listed = async |now, limit| {
        disk.reader.list_sent(Timestamp(50), Timestamp(now), limit).await.unwrap()
    };
    assert_eq!(listed(98, 9).await, ["first", "second"]);
    assert_eq!(listed(98, 1).await, ["second"]);
    assert!(listed(99, 9).await.is_empty(), "they have expired");
}

#[tokio::test]
async fn an_unreadable_row_stops_its_own_lane_only() {
    let mut disk = with_effects(vec![settle(9), tell(BUYER, Notice::Rate)]).await;
    disk.tamper("update outbox set kind = 'hold.explode/1' where lane like 'ln:%'").await.unwrap();

    let limits = Class::ALL.map(|class| (class, 10));
    let rows = disk.reader.list_acts_due(Timestamp(2), &limits).await.unwrap();

    let Err(Stuck { id, error }) = &rows[0].act else { panic!("{rows:?}") };
    assert!(matches!(error, StoreError::Corrupt { table: "outbox", .. }), "{error}");
    assert!(rows[1].act.is_ok());

    let mut tx = disk.begin().await;
    tx.retry_act(*id, Timestamp(60)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(lanes(&due(&disk, 59).await), [format!("dm:{BUYER}")], "it is put off");
}

// spec: D14
#[tokio::test]
async fn every_act_is_read_back_unchanged() {
    let view = OrderView {
        buyer_invoice: Some("lnbcrt1".to_owned()),
        ..OrderView::parties(&awaiting_hold(1, 9), Status::Active, Sats(99_000))
    };
    let reputation = Reputation {
        rating_milli: 4_500,
        reviews: 3,
        operating_days: 12,
        since: Some(Timestamp(86_400)),
    };
    let notices = [
        Notice::NewOrder(view.clone()),
        Notice::AddInvoice(view.clone()),
        Notice::PayInvoice { order: view.clone(), bolt11: "lnbcrt1".to_owned() },
        Notice::WaitingBuyerInvoice,
        Notice::WaitingSellerToPay,
        Notice::BuyerTookOrder(view.clone()),
        Notice::HoldInvoicePaymentAccepted(view),
        Notice::FiatSentOk { peer: SELLER },
        Notice::Released,
        Notice::HoldInvoicePaymentSettled,
        Notice::HoldInvoicePaymentCanceled,
        Notice::Rate,
        Notice::PurchaseCompleted,
        Notice::PaymentFailed { attempts_left: 2, interval_secs: 60 },
        Notice::InvoiceUpdated,
        Notice::Canceled,
        Notice::PayInvoiceReputation(reputation),
        Notice::AddInvoiceReputation(Reputation::default()),
        Notice::CantDo(Refusal::OutOfRangeSatsAmount),
    ];
    let add = LnCommand::AddHold {
        hash: hash(3),
        amount: Sats(101_000),
        expiry: std::time::Duration::from_mins(5),
        cltv_delta: 144,
        memo: "an order".to_owned(),
    };
    let commands =
        [add, LnCommand::EndHold { hash: hash(4) }, LnCommand::SendPayout { hash: hash(6) }];
    // Every message to another key, so that all are first in their lanes.
    let key = |n: usize| TradeKey([u8::try_from(n).unwrap(); 32]);
    let mut effects: Vec<_> =
        notices.iter().enumerate().map(|(n, notice)| tell(key(n), notice.clone())).collect();
    effects.extend(commands.iter().cloned().map(Effect::Lightning));
    effects.push(Effect::Alarm(Alarm::Frozen(FrozenBecause::EscrowLost)));

    let disk = with_effects(effects).await;

    let mut acts: Vec<_> =
        notices.iter().enumerate().map(|(n, notice)| told(key(n), notice)).collect();
    acts.extend(commands.map(Act::Lightning));
    acts.push(Act::Alarm(Alarm::Frozen(FrozenBecause::EscrowLost)));
    let mut rows = due(&disk, 2).await;
    rows.sort_by_key(|row| row.id);
    assert_eq!(rows.into_iter().map(|row| row.act).collect::<Vec<_>>(), acts);
}

// spec: INV-7
#[tokio::test]
async fn a_waiting_message_of_the_version_before_is_rendered_at_the_start() {
    let mut disk = with_effects(vec![tell(BUYER, Notice::Released)]).await;
    disk.tamper(
        r#"update outbox set kind = 'notice/1', body = '{"to":"'
        || '1515151515151515151515151515151515151515151515151515151515151515'
        || '","order":null,"request_id":7,"trade_index":null,"notice":"canceled"}'"#,
    )
    .await
    .unwrap();

    let disk = disk.reopened().await;

    let acts: Vec<_> = due(&disk, 2).await.into_iter().map(|row| row.act).collect();
    let text = spoken(&Notice::Canceled, None, Some(7), None);
    assert_eq!(acts, [Act::Notify { to: BUYER, text }]);
}

// spec: E2
#[tokio::test]
async fn the_end_of_a_hold_that_an_older_version_ordered_is_carried_out() {
    for older in
        ["update outbox set kind = 'hold.settle/1'", "update outbox set kind = 'hold.cancel/1'"]
    {
        let mut disk = with_effects(vec![settle(9)]).await;
        disk.tamper(older).await.unwrap();

        let acts: Vec<_> = due(&disk, 2).await.into_iter().map(|row| row.act).collect();

        assert_eq!(acts, [Act::Lightning(LnCommand::EndHold { hash: hash(9) })], "{older}");
    }
}

// spec: D19
#[tokio::test]
async fn a_refusal_may_name_an_order_that_does_not_exist() {
    let mut disk = Disk::new().await;
    let made_up = OrderId([99; 16]);
    let message = Notification {
        to: BUYER,
        order: Some(made_up),
        request_id: Some(1),
        trade_index: None,
        notice: Notice::CantDo(Refusal::NotFound),
    };
    let mut tx = disk.begin().await;
    tx.send(&message, Timestamp(1)).await.unwrap();
    tx.commit().await.unwrap();

    let row = due(&disk, 1).await.remove(0);
    assert_eq!(row.order, None);
    let text = spoken(&message.notice, Some(made_up), Some(1), None);
    assert_eq!(row.act, Act::Notify { to: BUYER, text });
}

fn delivery(event: u8, rumor: Option<u8>) -> Delivery {
    Delivery {
        event_id: EventId([event; 32]),
        rumor_id: rumor.map(|id| EventId([id; 32])),
        created_at: Timestamp(10),
        from: BUYER,
        transport: Transport::GiftWrap,
    }
}

// spec: C25 I7
#[tokio::test]
async fn an_event_is_new_once() {
    let mut disk = Disk::new().await;
    for (delivery, is_new) in [
        (delivery(1, None), true),
        (delivery(1, None), false),
        (delivery(2, Some(3)), true),
        // The same inner event in another wrapper.
        (delivery(4, Some(3)), false),
        (delivery(5, Some(6)), true),
    ] {
        let mut tx = disk.begin().await;
        assert_eq!(tx.remember(&delivery, Timestamp(11)).await.unwrap(), is_new, "{delivery:?}");
        tx.commit().await.unwrap();
    }
    assert!(disk.reader.is_remembered(EventId([1; 32])).await.unwrap());
    assert!(disk.reader.is_remembered(EventId([3; 32])).await.unwrap());
    assert!(!disk.reader.is_remembered(EventId([4; 32])).await.unwrap());
}

// spec: C25 K-06
#[tokio::test]
async fn an_event_is_known_after_a_restart() {
    let mut disk = Disk::new().await;
    let mut tx = disk.begin().await;
    tx.remember(&delivery(1, None), Timestamp(11)).await.unwrap();
    tx.commit().await.unwrap();

    let mut disk = disk.reopened().await;

    let mut tx = disk.begin().await;
    assert!(!tx.remember(&delivery(1, None), Timestamp(12)).await.unwrap());
}

// spec: D4
#[tokio::test]
async fn a_key_is_answered_on_the_transport_of_its_newest_message() {
    let mut disk = Disk::new().await;
    assert_eq!(disk.reader.find_transport(BUYER).await.unwrap(), None);
    for (event, created_at, transport, expected) in [
        (1, 10, Transport::GiftWrap, Transport::GiftWrap),
        (2, 20, Transport::Nip44, Transport::Nip44),
        // Arrives later, and was written before.
        (3, 15, Transport::GiftWrap, Transport::Nip44),
    ] {
        let created_at = Timestamp(created_at);
        let mut tx = disk.begin().await;
        let delivery = Delivery { created_at, transport, ..delivery(event, None) };
        tx.remember(&delivery, Timestamp(30)).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(disk.reader.find_transport(BUYER).await.unwrap(), Some(expected));
    }
}

// spec: INV-6 INV-7
#[tokio::test]
async fn a_revision_is_sealed_once_and_published_until_a_relay_has_it() {
    let mut disk = Disk::new().await;
    disk.create(&pending(1)).await;
    let id = PublicationId::Order(pending(1).id);
    let event = |text: &str, at| Published { created_at: Timestamp(at), event: text.to_owned() };
    for text in ["first", "again"] {
        let mut tx = disk.begin().await;
        tx.seal_publication(id, 1, &event(text, 100)).await.unwrap();
        tx.retry_publication(id, Timestamp(9)).await.unwrap();
        tx.commit().await.unwrap();
    }

    assert!(
        disk.reader.list_publications_due(Timestamp(8), 9).await.unwrap().is_empty(),
        "put off"
    );
    let row = disk.reader.list_publications_due(Timestamp(9), 9).await.unwrap().remove(0);
    assert_eq!((row.revision, row.attempts), (1, 2));
    assert_eq!((row.event.as_deref(), row.last_created_at), (Some("first"), Timestamp(100)));

    let mut tx = disk.begin().await;
    tx.record_published(id, 1, Timestamp(100)).await.unwrap();
    tx.commit().await.unwrap();
    assert!(disk.reader.list_publications_due(Timestamp(99), 9).await.unwrap().is_empty(), "done");
}

// spec: INV-7
#[tokio::test]
async fn a_new_revision_does_not_send_the_event_of_the_old_one() {
    let mut disk = Disk::new().await;
    disk.create(&pending(1)).await;
    let id = PublicationId::Order(pending(1).id);
    let mut tx = disk.begin().await;
    let old = Published { created_at: Timestamp(100), event: "old".to_owned() };
    tx.seal_publication(id, 1, &old).await.unwrap();
    tx.commit().await.unwrap();
    disk.save(&awaiting_hold(1, 9), vec![]).await.unwrap();

    let row = disk.reader.list_publications_due(Timestamp(1), 9).await.unwrap().remove(0);
    assert_eq!((row.revision, row.event), (2, None));
    assert_eq!(row.last_created_at, Timestamp(100), "the next must be later");
}

// spec: D15 K-09
#[tokio::test]
async fn order_events_that_relays_may_still_show_are_listed() {
    let mut disk = Disk::new().await;
    let (in_book, gone, taken, unsigned) = (pending(1), pending(2), pending(3), pending(4));
    for order in [&in_book, &gone, &taken, &unsigned] {
        disk.create(order).await;
    }
    disk.save(&ended(2, Outcome::Canceled), vec![]).await.unwrap();
    disk.save(&awaiting_hold(3, 9), vec![]).await.unwrap();
    let mut tx = disk.begin().await;
    for (order, text) in [(in_book.id, "in book"), (gone.id, "gone"), (taken.id, "taken")] {
        let event = Published { created_at: Timestamp(100), event: text.to_owned() };
        tx.seal_publication(PublicationId::Order(order), 2, &event).await.unwrap();
    }
    tx.commit().await.unwrap();

    let listed = async |now, after| {
        let found = disk.reader.list_shown(Timestamp(now), after, 9).await.unwrap();
        found.into_iter().map(|(_, event)| event).collect::<Vec<_>>()
    };
    assert_eq!(listed(999, None).await, ["in book", "gone", "taken"]);
    assert_eq!(listed(999, Some(gone.id)).await, ["taken"]);
    assert_eq!(listed(1_000, None).await, ["taken"], "what was in the book has expired");
}

// spec: INV-7 D30
#[tokio::test]
async fn a_public_event_is_dated_after_the_one_that_a_relay_accepted() {
    let mut disk = Disk::new().await;
    let id = PublicationId::Info;
    let mut revision = 0;
    for (n, (at, is_taken, fits)) in (0_u8..).zip([
        (5, true, true),
        (5, false, false),
        (4, false, false),
        (900, false, true),
        // No relay accepted the last one.
        (6, true, true),
    ]) {
        let mut tx = disk.begin().await;
        tx.renew_publication(id).await.unwrap();
        let event = Published { created_at: Timestamp(at), event: format!("the {n}th") };
        let sealed = tx.seal_publication(id, revision + 1, &event).await;
        assert_eq!(sealed.is_ok(), fits, "at {at}");
        if fits {
            revision += 1;
            if is_taken {
                tx.record_published(id, revision, Timestamp(at)).await.unwrap();
            }
            tx.commit().await.unwrap();
        }
    }

    let mut tx = disk.begin().await;
    tx.renew_publication(id).await.unwrap();
    tx.commit().await.unwrap();
    let row = disk.reader.list_publications_due(Timestamp(1), 9).await.unwrap().remove(0);
    assert_eq!((row.last_created_at, row.taken_at), (Timestamp(6), Timestamp(6)));
}

// spec: INV-7 D30
#[tokio::test]
async fn a_revision_is_resealed_until_a_relay_accepts_it_and_dated_after_the_accepted_one() {
    let mut disk = Disk::new().await;
    disk.create(&pending(1)).await;
    let id = PublicationId::Order(pending(1).id);
    let event = |at| Published { created_at: Timestamp(at), event: format!("at {at}") };
    let mut tx = disk.begin().await;
    tx.seal_publication(id, 1, &event(900)).await.unwrap();
    tx.seal_publication_anew(id, 1, &event(10)).await.unwrap();
    let sealed = tx.tx.as_mut();
    let kept: String =
        sqlx::query_scalar("select event from publications").fetch_one(sealed).await.unwrap();
    assert_eq!(kept, "at 10");
    tx.record_published(id, 1, Timestamp(10)).await.unwrap();
    tx.commit().await.unwrap();

    disk.save(&super::ended(1, Outcome::Canceled), vec![]).await.unwrap();
    let mut tx = disk.begin().await;
    tx.seal_publication(id, 2, &event(900)).await.unwrap();
    let error = tx.seal_publication_anew(id, 2, &event(10)).await.unwrap_err();
    assert!(matches!(error, StoreError::Forbidden(_)), "{error}");
}

#[tokio::test]
async fn the_depth_of_the_outbox_counts_undone_acts() {
    let mut disk = with_effects(vec![settle(9), settle(8)]).await;
    let first = due(&disk, 2).await[0].id;
    finish(&mut disk, first).await;

    assert_eq!(disk.reader.outbox_depth().await.unwrap(), (1, Some(Timestamp(2))));
}

#[test]
fn hashes_are_spelled_as_the_core_spells_them() {
    use crate::store::text::Text as _;
    assert_eq!(hash(9).to_text(), hash(9).to_string());
    assert_eq!(PaymentHash::from_text("zz"), None);
    assert_eq!(OrderId::from_text(&pending(1).id.to_string()), Some(pending(1).id));
}
