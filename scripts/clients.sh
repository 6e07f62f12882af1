#!/usr/bin/env bash
# Trades with real clients: mostro-cli from crates.io, a sale and a purchase on each transport,
# against the demo. Programs and keys stay in target/clients; see docs/CLIENTS.md.
set -euo pipefail
cd "$(dirname "$0")/.."

home=$PWD/target/clients
bin=${CARGO_TARGET_DIR:-$PWD/target}/debug
demo_log=$home/demo.log
offer=(--amount 10000 --fiatcode EUR --fiatamount 10 --paymentmethod cash)
payout_sats=9970 # less half of the demo's fee of 0.6 %

main() {
    install 0.16.3
    install 0.16.1
    cargo build --workspace --bins
    rm -rf "$home/people"
    start_demo
    trade_with 0.16.3 nip44
    trade_with 0.16.1 gift-wrap
    stop_demo
    echo "all trades succeeded, and the daemon's ledger equals LND's channels"
}

install() { # version
    cargo install --locked --root "$home/$1" --target-dir "$home/build" "mostro-cli@$1"
}

# Reads what a client needs from the output of the demo, as a person would.
start_demo() {
    : > "$demo_log" # otherwise the output of an earlier demo could be read
    "$bin/devnet" > "$demo_log" 2>&1 &
    demo=$!
    trap 'kill $demo 2> /dev/null || true' EXIT
    until grep -q '^Each wallet is an LND' "$demo_log"; do
        kill -0 $demo 2> /dev/null || die "the demo ended: $(cat "$demo_log")"
        sleep 0.2
    done
    eval "$(grep -o 'export MOSTRO_PUBKEY=.*' "$demo_log")"
    lnd=$(sed -n 's/.*lnd-sim pay --dir \([^ ]*\) .*/\1/p' "$demo_log")
}

# At its end the demo compares the ledgers again. It fails if they differ.
stop_demo() {
    trap - EXIT
    kill $demo
    wait $demo || die "the demo failed: $(tail -n 5 "$demo_log")"
}

trade_with() { # version transport
    version=$1 transport=$2
    sale
    purchase
}

sale() {
    new_traders sale
    order=$(client seller neworder --kind sell "${offer[@]}" | order_id)
    expect "$order" client buyer listorders
    expect 'Add Lightning Invoice' client buyer takesell --orderid "$order"
    expect 'Waiting for Seller' client buyer addinvoice --orderid "$order" --invoice "$(payout)"
    pay "$(await lnbc seller | invoice)"
    await BuyerTookOrder seller > /dev/null
    await HoldInvoicePaymentAccepted buyer > /dev/null
    settle
}

purchase() {
    new_traders purchase
    order=$(client buyer neworder --kind buy "${offer[@]}" | order_id)
    expect "$order" client seller listorders
    pay "$(client seller takebuy --orderid "$order" | invoice)"
    await AddInvoice buyer > /dev/null
    expect 'Payment Accepted' client buyer addinvoice --orderid "$order" --invoice "$(payout)"
    await BuyerTookOrder seller > /dev/null
    settle
}

settle() {
    expect 'Fiat Payment Confirmed' client buyer fiatsent --orderid "$order"
    await FiatSentOk seller > /dev/null
    expect 'Settled & Released' client seller release --orderid "$order"
    await PurchaseCompleted buyer > /dev/null
}

# Every trade has new traders with new keys.
new_traders() { # kind
    people=$home/people/$version-$1
    mkdir -p "$people/seller" "$people/buyer"
    echo "mostro-cli $version over $transport: a $1"
}

client() { # person arguments...
    local person=$1
    shift
    HOME=$people/$person "$home/$version/bin/mostro-cli" --transport "$transport" "$@" <<< y
}

# The client shows messages that answer no request only on `getdm`.
await() { # text person
    local text
    for _ in $(seq 30); do
        text=$(client "$2" getdm)
        if grep -q "$1" <<< "$text"; then
            echo "$text"
            return
        fi
        sleep 0.5
    done
    die "the $2 did not receive $1 within 15 s: $text"
}

expect() { # expected command...
    local expected=$1 text
    shift
    text=$("$@") || die "$*: $text"
    grep -qF -- "$expected" <<< "$text" || die "$*: no \"$expected\" in: $text"
}

payout() {
    "$bin/lnd-sim" invoice --dir "$lnd" --wallet buyer $payout_sats
}

pay() { # invoice
    [ -n "$1" ] || die "there is no invoice to pay"
    "$bin/lnd-sim" pay --dir "$lnd" --wallet seller "$1" > /dev/null
}

order_id() {
    grep -o '[0-9a-f]\{8\}-[0-9a-f-]\{27\}' | tail -n 1
}

invoice() {
    grep -o 'lnbc[0-9a-z]*' | tail -n 1
}

die() {
    echo "error: $*" >&2
    exit 1
}

main
