use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use tempfile::TempDir;
use trade::{Ppm, Sats};

use super::*;

const KEY_HEX: &str = "67dea2ed018072d675f5415ecfaed7d2597555e202d85b3d65ea4e58d2d92ffa";
const KEY_NSEC: &str = "nsec1vl029mgpspedva04g90vltkh6fvh240zqtv9k0t9af8935ke9laqsnlfe5";

/// Settings of the upstream daemon 0.20, with every section it supports.
const UPSTREAM: &str = r#"
[lightning]
lnd_cert_file = "CERT"
lnd_macaroon_file = "CERT"
lnd_grpc_host = "https://127.0.0.1:10001"
invoice_expiration_window = 3600
hold_invoice_cltv_delta = 144
hold_invoice_expiration_window = 300
payment_attempts = 3
payment_retries_interval = 60
max_final_cltv_expiry_delta = 144
escrow_deadline_margin_blocks = 24
[nostr]
nsec_privkey = "nsec1vl029mgpspedva04g90vltkh6fvh240zqtv9k0t9af8935ke9laqsnlfe5"
relays = ["ws://localhost:7000"]
[mostro]
fee = 0.006
max_routing_fee = 0.002
max_order_amount = 1000000
min_payment_amount = 100
expiration_hours = 24
max_expiration_days = 15
expiration_seconds = 900
user_rates_sent_interval_seconds = 3600
publish_relays_interval = 60
publish_mostro_info_interval = 300
bitcoin_price_api_url = "https://api.yadio.io"
pow = 0
fiat_currencies_accepted = ["USD", "EUR"]
max_orders_per_response = 10
dev_fee_percentage = 0.30
transport = "nip44"
[database]
url = "sqlite://mostro.db"
[rpc]
enabled = false
listen_address = "127.0.0.1"
port = 50051
[health]
enabled = true
interval = 60
[price]
update_interval_seconds = 300
[price.providers.yadio]
enabled = true
[anti_abuse_bond]
enabled = false
apply_to = "take"
[payer_history]
enabled = false
[cashu]
enabled = false
mint_urls = []
"#;

#[test]
fn an_unmodified_upstream_file_loads_with_warnings_for_what_is_not_built() {
    let loaded = load(UPSTREAM, &[]).expect("loads");

    let mut named = loaded.warnings.iter().map(|warning| warning.key.as_str()).collect::<Vec<_>>();
    named.sort_unstable();
    assert_eq!(named, ["health.enabled", "mostro.dev_fee_percentage", "price"]);
    assert_eq!(loaded.settings.mostro.fee, Ppm(6_000));
    assert_eq!(loaded.settings.mostro.transport, Transports::Nip44);
    assert_eq!(loaded.settings.mostro.max_order_amount, Sats(1_000_000));
}

#[test]
fn the_template_shows_the_default_of_every_setting() {
    let whole = format!("{:?}", settings(TEMPLATE, &[]));
    let template: toml::Table = TEMPLATE.parse().expect("the template is TOML");

    for (section, keys) in &template {
        for key in keys.as_table().expect("a section").keys() {
            let mut without = template.clone();
            without[section].as_table_mut().expect("a section").remove(key);

            match load(&without.to_string(), &[]) {
                Ok(loaded) => assert_eq!(format!("{:?}", loaded.settings), whole, "{key}"),
                Err(problems) => {
                    let [problem] = problems.as_slice() else { panic!("{problems:?}") };
                    assert_eq!(problem.key, format!("{section}.{key}"));
                    assert!(problem.fault.contains("missing"), "{problem}");
                }
            }
        }
    }
}

#[test]
fn the_template_loads_without_warnings_and_contains_every_setting() {
    let dir = directory(TEMPLATE);
    let env = || environment(&dir, &[]).into_iter();
    assert_eq!(Settings::load(dir.path(), env()).expect("loads").warnings, []);

    let mut layers = Layers::read(dir.path(), env()).expect("reads");
    let read = lightning::read(&mut layers.section("lightning")).is_ok()
        && nostr::read(&mut layers).is_ok()
        && mostro::read(&mut layers.section("mostro")).is_ok()
        && expiration::read(&mut layers, None).is_ok()
        && database::read(&mut layers.section("database"), dir.path()).is_ok();
    assert!(read);
    for path in layers.known() {
        let (_, key) = path.split_once('.').expect("section.key");
        let explained = TEMPLATE.lines().any(|line| {
            line.trim_start_matches("# ").split_once(" = ").is_some_and(|(name, _)| name == key)
        });
        assert!(explained, "{path} is not in settings.tpl.toml");
    }
}

#[test]
fn all_problems_are_reported_at_once() {
    let text = TEMPLATE
        .replace("https://127.0.0.1:10001", "http://127.0.0.1:10001")
        .replace("wss://relay.mostro.network", "relay.mostro.network")
        .replace("fee = 0\n", "fee = 1.5\n")
        .replace("payment_attempts = 3", "payment_attempts = \"three\"")
        .replace("expiration_hours = 24\n", "")
        .replace("transport = \"both\"", "transport = \"unknown\"");

    let problems = load(&text, &[]).expect_err("refused");

    let mut keys = keys_of(&problems);
    keys.sort_unstable();
    assert_eq!(
        keys,
        [
            "lightning.lnd_grpc_host",
            "lightning.payment_attempts",
            "mostro.expiration_hours",
            "mostro.fee",
            "mostro.transport",
            "nostr.relays",
        ]
    );
}

#[test]
fn a_problem_names_key_value_and_remedy() {
    let text = TEMPLATE.replace("payment_attempts = 3", "payment_attempts = 0");
    check(
        &text,
        &[],
        "lightning.payment_attempts = 0: is below 1; \
         set it under [lightning], for example payment_attempts = 3",
    );
}

// spec: D5
#[test]
fn the_catch_up_time_is_a_month_at_most() {
    let text =
        |hours| TEMPLATE.replace("catch_up_hours = 24", &format!("catch_up_hours = {hours}"));
    let month = Duration::from_hours(720);
    assert_eq!(settings(&text(720), &[]).nostr.inbox_catch_up, month);
    check(
        &text(721),
        &[],
        "nostr.inbox_catch_up_hours = 721: is not between 1 and 720; \
         set it under [nostr], for example inbox_catch_up_hours = 24",
    );
}

#[test]
fn a_variable_overrides_the_file_and_is_named_when_it_is_wrong() {
    let relays = ("MOSTRO__NOSTR__RELAYS", "wss://one.example, ws://two.example:7000");
    let env = [relays, ("MOSTRO__MOSTRO__FEE", "0.01")];
    let settings = settings(TEMPLATE, &env);
    assert_eq!(settings.nostr.relays, ["wss://one.example", "ws://two.example:7000"]);
    assert_eq!(settings.mostro.fee, Ppm(10_000));

    check(
        TEMPLATE,
        &[("MOSTRO__MOSTRO__POW", "many")],
        "mostro.pow (MOSTRO__MOSTRO__POW) = \"many\": is not a whole number from 0 to 255; \
         set it under [mostro], for example pow = 0",
    );
}

#[test]
fn a_variable_that_is_not_utf8_is_a_problem_if_it_has_our_prefix() {
    let dir = directory(TEMPLATE);
    let bytes = OsStr::from_bytes(b"\xff\xfe").to_owned();
    let with = |name: &str| {
        let mut env = environment(&dir, &[]);
        env.push((name.into(), bytes.clone()));
        Settings::load(dir.path(), env.into_iter())
    };

    assert!(with("SOMEBODY_ELSES").is_ok());
    let problems = with("MOSTRO__MOSTRO__NAME").expect_err("refused");
    assert_eq!(
        problems[0].to_string(),
        "MOSTRO__MOSTRO__NAME: is not UTF-8; correct or unset this variable"
    );
}

#[test]
fn a_file_that_cannot_be_read_is_a_problem() {
    let env = [("MOSTRO__LIGHTNING__LND_MACAROON_FILE", "/nowhere/mostro.macaroon")];
    let problems = load(TEMPLATE, &env).expect_err("refused");
    assert!(problems[0].to_string().contains("/nowhere/mostro.macaroon"), "{problems:?}");
    assert!(problems[0].to_string().contains("cannot be read"), "{problems:?}");
}

// spec: E5
#[test]
fn the_margin_is_larger_than_lnds_own_and_smaller_than_the_hold() {
    for (margin, lnd_delta, is_fine) in
        [(24, 18, true), (23, 18, false), (18, 12, true), (143, 18, true), (144, 18, false)]
    {
        let text = TEMPLATE
            .replace(
                "escrow_deadline_margin_blocks = 24",
                &format!("escrow_deadline_margin_blocks = {margin}"),
            )
            .replace("lnd_hold_expiry_delta = 18", &format!("lnd_hold_expiry_delta = {lnd_delta}"));
        match load(&text, &[]) {
            Ok(_) => assert!(is_fine, "{margin} at {lnd_delta}"),
            Err(problems) => {
                assert!(!is_fine, "{problems:?}");
                assert_eq!(keys_of(&problems), ["lightning.escrow_deadline_margin_blocks"]);
            }
        }
    }
}

// spec: I11
#[test]
fn a_fraction_has_at_most_six_decimals() {
    for (text, expected) in [
        ("0", Some(0)),
        ("0.006", Some(6_000)),
        ("0.999999", Some(999_999)),
        ("6e-6", Some(6)),
        ("0.0060000", Some(6_000)),
        ("0.0000001", None),
        ("1", None),
        ("-0.1", None),
        ("nan", None),
    ] {
        let text = TEMPLATE.replace("fee = 0\n", &format!("fee = {text}\n"));
        let fee = load(&text, &[]).map(|loaded| loaded.settings.mostro.fee.0);
        assert_eq!(fee.ok(), expected, "{text}");
    }
}

#[test]
fn the_development_fee_is_zero_or_at_least_a_tenth_of_the_fee() {
    for (share, warned) in [("0", Some(0)), ("0.1", Some(1)), ("1.0", Some(1)), ("0.09", None)] {
        let key = "dev_fee_percentage = ";
        let text = TEMPLATE.replace(&format!("{key}0"), &format!("{key}{share}"));
        let warnings = load(&text, &[]).map(|loaded| loaded.warnings.len());
        assert_eq!(warnings.ok(), warned, "{share}");
    }
}

// spec: D39
#[test]
fn a_payment_cltv_limit_that_lnd_refuses_or_no_route_fits_in_is_a_problem() {
    let with = |limit: u32| {
        let key = "payment_cltv_limit = ";
        load(&TEMPLATE.replace(&format!("{key}1008"), &format!("{key}{limit}")), &[])
    };
    for (limit, remedy) in [
        (0, "set it to 720 or more"),
        (719, "set it to 720 or more"),
        (2017, "set it to 2016 or less, and never above LND's max-cltv-expiry"),
    ] {
        let error = with(limit).expect_err("it is refused").remove(0).to_string();
        assert!(
            error.contains("lightning.payment_cltv_limit") && error.contains(remedy),
            "{error}"
        );
    }
    for limit in [720, 2016] {
        let loaded = with(limit).expect("loads");
        assert_eq!(loaded.settings.lightning.payment_cltv_limit, limit);
        assert_eq!(loaded.warnings.len(), 0);
    }
}

// spec: D43
#[test]
fn the_routing_subsidy_is_ten_thousand_sats_a_day_by_default() {
    let line = "max_routing_subsidy = 10000";
    for (with, expected) in [(line, 10_000), ("", 10_000), ("max_routing_subsidy = 0", 0)] {
        let loaded = load(&TEMPLATE.replace(line, with), &[]).expect("loads");
        assert_eq!(loaded.settings.policy().max_routing_subsidy, Sats(expected), "{with}");
    }
}

#[test]
fn the_settle_policy_for_expiring_escrows_is_refused_as_not_built() {
    let text = TEMPLATE.replace("policy = \"warn\"", "policy = \"settle\"");
    check(
        &text,
        &[],
        "mostro.escrow_horizon_policy = \"settle\": is not built yet: this daemon never takes \
         sats into custody; set it to \"warn\"",
    );
}

#[test]
fn upstream_features_that_are_not_built_are_accepted_with_a_warning_when_enabled() {
    for section in
        ["rpc", "anti_abuse_bond", "payer_history", "cashu", "reputation_import", "health"]
    {
        let text = format!("{TEMPLATE}\n[{section}]\nenabled = true\n");
        let warnings = load(&text, &[]).expect("loads").warnings;
        let [warning] = warnings.as_slice() else { panic!("{warnings:?}") };
        assert_eq!(warning.key, format!("{section}.enabled"));
    }
}

// spec: K-56
#[test]
fn the_database_is_beside_the_settings_whatever_its_url_says() {
    for url in ["sqlite:///srv/other.db", "sqlite:///srv/mostro.db"] {
        let text = TEMPLATE.replace("sqlite://mostro.db", url);
        let warnings = load(&text, &[]).expect("loads").warnings;
        assert_eq!(warnings[0].key, "database.url");
    }
}

#[test]
fn a_changed_setting_without_effect_gets_a_warning() {
    for (was, is, key) in [
        (
            "max_inflight_payouts = 100",
            "max_inflight_payouts = 5",
            "lightning.max_inflight_payouts",
        ),
        (
            "interval_seconds = 3600",
            "interval_seconds = 60",
            "mostro.user_rates_sent_interval_seconds",
        ),
        ("# pow_first_contact = 10", "pow_first_contact = 20", "mostro.pow_first_contact"),
        (
            "refresh_interval = 60",
            "refresh_interval = 61",
            "mostro.active_pubkeys_refresh_interval",
        ),
        ("dev@pay.mostro.foundation", "me@example.org", "mostro.dev_fee_address"),
        ("dispute_days = 90", "dispute_days = 7", "expiration.dispute_days"),
    ] {
        let warnings = load(&TEMPLATE.replace(was, is), &[]).expect("loads").warnings;
        let [warning] = warnings.as_slice() else { panic!("{key}: {warnings:?}") };
        assert_eq!(warning.key, key);
        assert!(warning.meaning.starts_with("has no effect yet: "), "{warning}");
    }
}

#[test]
fn unknown_keys_get_a_warning() {
    let text = format!("{TEMPLATE}\n[lihgtning]\nx = 1\n").replace("pow = 0", "pow = 0\npwo = 1");
    let warnings = load(&text, &[]).expect("loads").warnings;
    let named = warnings.iter().map(|warning| warning.key.as_str()).collect::<Vec<_>>();
    assert_eq!(named, ["lihgtning.x", "mostro.pwo"]);
}

#[test]
fn without_an_expiration_section_orders_are_kept_for_max_expiration_days() {
    let (text, _) = TEMPLATE.split_once("[expiration]").expect("the section");
    let expiration = settings(text, &[]).expiration;
    let days = |days: u64| Duration::from_hours(days * 24);
    assert_eq!((expiration.order, expiration.dm), (days(15), days(30)));
}

#[test]
fn the_key_is_taken_from_the_environment_then_dotenv_then_the_file() {
    let key_of = |variables: &[(&str, &str)], dotenv: &str, in_file: &str| {
        let dir = directory(&TEMPLATE.replace("privkey = \"\"", &format!("privkey = {in_file:?}")));
        fs::write(dir.path().join(".env"), dotenv).expect("writes");
        let mut env = environment(&dir, variables);
        env.retain(|(name, value)| name != "MOSTRO_NSEC_PRIVKEY" || value != KEY_HEX);
        let loaded = Settings::load(dir.path(), env.into_iter()).ok()?;
        Some(hex::encode(loaded.settings.nostr.node_secret.expose()))
    };
    let (one, two, three) = ("01".repeat(32), "02".repeat(32), "03".repeat(32));
    let variable = [("MOSTRO_NSEC_PRIVKEY", one.as_str())];
    let blank = [("MOSTRO_NSEC_PRIVKEY", "  ")];
    let dotenv = format!("MOSTRO_NSEC_PRIVKEY={two}\n");

    assert_eq!(key_of(&variable, &dotenv, &three), Some(one.clone()));
    assert_eq!(key_of(&blank, &dotenv, &three), Some(two));
    assert_eq!(key_of(&[], "MOSTRO_NSEC_PRIVKEY=\n", &three), Some(three));
    assert_eq!(key_of(&[], "", KEY_NSEC), Some(KEY_HEX.to_owned()));
    assert_eq!(key_of(&[], "", " "), None);
}

#[test]
fn an_invalid_secret_key_is_refused() {
    let group_order = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
    let zero = "0".repeat(64);
    let npub = "npub10elfcs4fr0l0r8af98jlmgdh9c8tcxjvz9qkw038js35mp4dma8qzvjptg";
    let corrupted = KEY_NSEC.replace("vl02", "vl03");
    for text in [group_order, &zero, npub, &corrupted, "nsec1", "abc", ""] {
        assert!(NodeSecret::parse(text).is_none(), "{text}");
    }
}

// spec: K-10 I10
#[test]
fn the_key_appears_in_no_problem_no_warning_and_no_debug_output() {
    let corrupted = KEY_NSEC.replace("vl02", "vl03");
    let inline = |key: &str| TEMPLATE.replace("privkey = \"\"", &format!("privkey = {key}"));
    let texts = [
        inline(&format!("{corrupted:?}")),
        inline(&format!("\"{KEY_NSEC}")),
        inline(KEY_NSEC),
        inline(&format!("[{KEY_NSEC:?}]")),
        inline(&format!("{KEY_NSEC:?}")),
        TEMPLATE.replace("wss://relay.mostro.network", KEY_NSEC),
        format!("nostr = {KEY_NSEC:?}"),
    ];
    for text in texts {
        let dir = directory(&text);
        fs::write(dir.path().join(".env"), format!("MOSTRO NSEC={KEY_NSEC}\n")).expect("writes");
        let mut env = environment(&dir, &[]);
        env.retain(|(name, _)| name != "MOSTRO_NSEC_PRIVKEY");

        let loaded = Settings::load(dir.path(), env.into_iter());

        let shown = match &loaded {
            Ok(loaded) => loaded.warnings.iter().map(ToString::to_string).collect::<String>(),
            Err(problems) => problems.iter().map(ToString::to_string).collect(),
        };
        for secret in [KEY_NSEC, &corrupted, KEY_HEX] {
            assert!(!shown.contains(secret), "{shown}");
            assert!(!format!("{loaded:?}").contains(secret), "{loaded:?}");
        }
    }
}

// spec: K-57
#[test]
fn a_first_run_writes_the_template_for_its_owner_only_and_never_overwrites_settings() {
    let dir = tempfile::tempdir().expect("a directory");
    let home = dir.path().join("new");

    let path = write_template(&home).expect("writes").expect("was not there");

    assert_eq!(fs::read_to_string(&path).expect("reads"), TEMPLATE);
    assert_eq!(fs::metadata(&path).expect("is there").permissions().mode() & 0o777, 0o600);
    fs::write(&path, "mine").expect("writes");
    assert_eq!(write_template(&home).expect("no error"), None);
    assert_eq!(fs::read_to_string(&path).expect("reads"), "mine");
}

#[test]
fn an_address_in_the_settings_has_a_scheme_a_host_and_no_credentials() {
    for (url, is_fine) in [
        ("wss://relay.example", true),
        ("ws://[::1]:7000/path", true),
        ("wss://relay.example:7000", true),
        ("https://relay.example", false),
        ("wss://", false),
        ("wss://:7000", false),
        ("wss://relay.example:70000", false),
        ("wss://[::1]7000", false),
        ("wss://name:word@relay.example", false),
        ("relay.example", false),
    ] {
        assert_eq!(url::check(url, &["wss", "ws"]).is_ok(), is_fine, "{url}");
    }
}

/// These settings have exactly this one problem.
fn check(text: &str, env: &[(&str, &str)], expected: &str) {
    let problems = load(text, env).expect_err("refused");
    let [problem] = problems.as_slice() else { panic!("{problems:?}") };
    assert_eq!(problem.to_string(), expected);
}

fn settings(text: &str, env: &[(&str, &str)]) -> Settings {
    load(text, env).expect("loads").settings
}

fn load(text: &str, env: &[(&str, &str)]) -> Result<Loaded, Vec<Problem>> {
    let dir = directory(text);
    let mut loaded = Settings::load(dir.path(), environment(&dir, env).into_iter());
    if let Ok(loaded) = &mut loaded {
        // These paths differ from run to run.
        let lightning = &mut loaded.settings.lightning;
        lightning.lnd_cert_file = "CERT".into();
        lightning.lnd_macaroon_file = "CERT".into();
        loaded.settings.database.file = "DATABASE".into();
    }
    loaded
}

fn directory(text: &str) -> TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("cert"), "").expect("writes");
    fs::write(dir.path().join(FILE_NAME), text).expect("writes");
    dir
}

/// LND's files, a key, and `more`.
fn environment(dir: &TempDir, more: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    let cert = dir.path().join("cert").display().to_string();
    let given = [
        ("MOSTRO__LIGHTNING__LND_CERT_FILE", cert.as_str()),
        ("MOSTRO__LIGHTNING__LND_MACAROON_FILE", cert.as_str()),
        ("MOSTRO_NSEC_PRIVKEY", KEY_HEX),
    ];
    given.iter().chain(more).map(|(name, value)| ((*name).into(), (*value).into())).collect()
}

fn keys_of(problems: &[Problem]) -> Vec<&str> {
    problems.iter().map(|problem| problem.key.as_str()).collect()
}
