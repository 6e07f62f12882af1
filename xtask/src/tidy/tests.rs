use super::*;

// spec: D2
#[test]
fn the_tree_is_tidy() {
    let faults = check(&crate::root()).expect("the tree can be read");
    let list = faults.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(list, [""; 0]);
}

#[test]
fn an_arrow_that_the_table_lacks_is_found_however_it_is_written() {
    for code in [
        "use crate::lightning::LightningNode;",
        "use crate::{\n    clock::Clock,\n    lightning::{Bolt11, LightningNode},\n};",
        "fn f(node: &crate::lightning::Client) {}",
        "use super::super::lightning;",
    ] {
        let whats = rust_faults("src/intake/pool.rs", code);
        assert_eq!(whats, ["intake may not use lightning"], "{code}");
    }
    assert_eq!(rust_faults("src/engine.rs", "use super::wire;"), ["engine may not use wire"]);
    assert_eq!(rust_faults("src/main.rs", "use mostrod::store;"), ["main may not use store"]);
}

#[test]
fn an_arrow_of_the_table_is_fine() {
    for (file, code) in [
        ("src/intake.rs", "use crate::{engine::Engine, tasks::Tasks, wire};"),
        ("src/outbox/lightning.rs", "use super::lightning; use crate::lightning;"),
        ("src/daemon.rs", "use crate::{store, wire};"),
        ("src/engine.rs", "// not through crate::wire\nconst NAME: &str = \"crate::wire\";"),
        ("src/engine.rs", "#[cfg(test)]\nmod tests {\n    use crate::lightning;\n}"),
        ("src/engine/tests.rs", "use crate::lightning;"),
        ("crates/devnet/src/main.rs", "use crate::lightning;"),
    ] {
        assert_eq!(rust_faults(file, code), [""; 0], "{file}: {code}");
    }
}

#[test]
fn a_module_without_a_place_in_the_table_is_found() {
    assert_eq!(rust_faults("src/gossip.rs", "").len(), 1);
}

#[test]
fn a_crate_is_named_by_its_owner_only() {
    assert_eq!(rust_faults("src/store/orders.rs", "use sqlx::query;"), [""; 0]);
    assert_eq!(
        rust_faults("src/engine.rs", "use sqlx::query;"),
        ["engine may not name the crate sqlx"]
    );
    assert_eq!(rust_faults("src/engine.rs", "use our_sqlx::query;"), [""; 0]);
}

#[test]
fn sql_belongs_to_the_store() {
    let code = "let found = ask(\"SELECT id FROM orders\");";
    assert_eq!(rust_faults("src/timers.rs", code), ["SQL outside src/store"]);
    assert_eq!(rust_faults("src/store/orders.rs", code), [""; 0]);
    assert_eq!(rust_faults("src/timers.rs", "// select an order\nlet select = 1;"), [""; 0]);
}

#[test]
fn a_long_file_is_two_files_unless_it_is_a_test() {
    let long = "fn f() {}\n".repeat(MAX_LINES + 1);
    assert_eq!(rust_faults("src/engine.rs", &long).len(), 1);
    assert_eq!(rust_faults("src/engine/tests.rs", &long), [""; 0]);
    assert_eq!(rust_faults("tests/it/flows/take.rs", &long), [""; 0]);
}

#[test]
fn comments_tell_no_history() {
    for code in ["// see #12", "/* Phase 3 */", "fn f() {} // since #4"] {
        assert_eq!(rust_faults("crates/trade/src/lib.rs", code).len(), 1, "{code}");
    }
    for code in ["#[test]", "let text = \"#12\";", "// a # and a phase", "let r = r#\"// #1\"#;"] {
        assert_eq!(rust_faults("crates/trade/src/lib.rs", code), [""; 0], "{code}");
    }
    let sql = "create table a (b); -- Phase 1\n-- what b means";
    assert_eq!(check_history_in(Path::new("a.sql"), sql_comments(sql))[0].line, 1);
}

#[test]
fn a_comment_that_announces_work_is_found() {
    let text = format!("fine\n// {}: later", PROMISES[0]);
    assert_eq!(check_promises(Path::new("a.rs"), &text)[0].line, 2);
}

#[test]
fn a_file_is_split_into_code_text_and_comment() {
    let check = |source: &str, code: &str, text: &str, comment: &str| {
        let lines = Source::read(source).lines;
        let joined = |part: fn(&crate::source::Line) -> &str| {
            lines.iter().map(part).collect::<Vec<_>>().join("\n")
        };
        assert_eq!(joined(|line| &line.code), code, "{source}");
        assert_eq!(joined(|line| &line.text), text, "{source}");
        assert_eq!(joined(|line| &line.comment), comment, "{source}");
    };
    check("a // b", "a ", "", " b");
    check("a /* b /* c */ d */ e", "a  e", "", " b  c  d ");
    check("f(\"// \\\" a\") b", "f() b", "// \\ a", "");
    check("r#\"a\"b\"# c", " c", "a\"b", "");
    check("'\"' '\\'' a::<'b> \"c\"", "  a::<'b> ", "c", "");
    check("\"a\nb\" c", "\n c", "a\nb", "\n");
}

#[test]
fn an_unread_setting_is_found() {
    let template = "[a]\n# A sentence.\nfee = 0\n# name = \"x\"\n";
    let found = documents::check_template(template, "read(\"fee\")");
    assert_eq!(found, [fault("settings.tpl.toml", 4, "name is not read")]);
}

#[test]
fn a_dependency_without_a_reason_is_found() {
    let manifest =
        "[workspace.dependencies]\nours = { path = \"x\" }\na = \"1\" # why\nb = \"1\"\n[x]\nc = 1";
    assert_eq!(documents::check_dependencies(manifest)[0].line, 4);
}

const TAKE: &str = "### T7\n\nA take.\n\nBuilt: yes, in `src`.\n";
const TAKE_TEST: &str = "// spec: T7\n#[test]\nfn a_take() {}\n";

// spec: D38
#[test]
fn a_rule_that_is_cited_and_proved_is_fine() {
    let faults = rule_faults(TAKE, &[("src/a.rs", TAKE_TEST), ("README.md", "As T7 says.")]);
    assert_eq!(faults, [""; 0]);
}

// spec: D38
#[test]
fn an_unknown_rule_is_found_wherever_it_is_cited() {
    for (file, text) in [
        ("src/a.rs", "fn f() {} // as T99 says"),
        ("tests/it/a.rs", "//! What T99 asks."),
        ("crates/trade/src/a.rs", "/* T7-T99 */"),
        ("src/a.rs", "// spec: T99\n#[test]\nfn a() {}"),
        ("docs/OPERATIONS.md", "As in T99, but *T7*."),
        ("migrations/1.sql", "create table a (b); -- T99"),
        ("settings.tpl.toml", "# What T99 asks.\na = 1"),
    ] {
        let faults = rule_faults(TAKE, &[("src/b.rs", TAKE_TEST), (file, text)]);
        assert!(faults[0].starts_with("T99 has no entry in docs/rules"), "{file}: {faults:?}");
    }
}

// spec: D38
#[test]
fn text_that_only_looks_like_a_code_is_no_citation() {
    let text = "I2C, P2WKH, E0599, 0xC6, T123, X9, a `Map<T88, T99>`, P-521, SHA-256, T99_a";
    for (file, text) in [
        ("src/a.rs", format!("//! {text}\nfn f<T88>() {{ let t = \"T99\"; }}")),
        ("docs/a.md", format!("{text}\n\n```text\nT99\n```\n")),
    ] {
        let faults = rule_faults(TAKE, &[("src/b.rs", TAKE_TEST), (file, &text)]);
        assert_eq!(faults, [""; 0], "{file}");
    }
}

// spec: D38
#[test]
fn a_rule_that_is_called_built_and_proved_by_nothing_is_found() {
    let faults = rule_faults(TAKE, &[("src/a.rs", "// T7\nfn f() {}")]);
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].starts_with("T7 is called built, and no test names it"), "{faults:?}");
}

#[test]
fn a_rule_that_is_called_not_built_and_proved_is_found() {
    let page = "### T7\n\nA take.\n\nBuilt: no.\n";
    assert_eq!(rule_faults(page, &[]), [""; 0]);
    let faults = rule_faults(page, &[("src/a.rs", TAKE_TEST)]);
    assert!(faults[0].starts_with("T7 is called not built, and the test a_take"), "{faults:?}");
}

#[test]
fn a_rule_that_is_partly_built_may_be_proved_or_not() {
    let page = "### T7\n\nA take.\n\nBuilt: partly, in `src`. Lacks: the take of a range.\n";
    assert_eq!(rule_faults(page, &[]), [""; 0]);
    assert_eq!(rule_faults(page, &[("src/a.rs", TAKE_TEST)]), [""; 0]);
}

#[test]
fn an_entry_that_is_incomplete_or_on_the_wrong_page_is_found() {
    for (page, what) in [
        ("### C1\n\nA take.\n\nBuilt: no.\n", "C1 does not belong on this page"),
        ("### T8\n\nA take.\n\nBuilt: partly, in `nowhere`. Lacks: b.\n", "which does not exist"),
        ("### T8\n\nA take.\n\nBuilt: yes.\n", "the forms are"),
        ("### T8\n\nA take.\n\nBuilt: partly, in `src`.\n", "the forms are"),
        ("### T8\n\nA take.\n", "does not say whether it is built"),
        ("### T8\n\nBuilt: no.\n", "does not say what the rule is"),
        ("### T8\n\nA take.\n\nBuilt: no.\n### T8\n\nA take.\n\nBuilt: no.\n", "a second entry"),
    ] {
        let faults = rule_faults(page, &[]);
        assert!(faults[0].contains(what), "{page}: {faults:?}");
    }
}

#[test]
fn a_spec_line_without_codes_or_above_no_test_is_found() {
    for (text, what) in [
        ("// spec: T7 soon\n#[test]\nfn a() {}", "lists codes of rules and nothing else"),
        ("// spec:\n#[test]\nfn a() {}", "lists codes of rules and nothing else"),
        ("// spec: T7\nlet a = 1;", "above no test"),
    ] {
        let faults = rule_faults(TAKE, &[("src/a.rs", text), ("src/b.rs", TAKE_TEST)]);
        assert!(faults[0].contains(what), "{text}: {faults:?}");
    }
}

/// Of a tree that has `page` as the page of the transitions, and `files`.
fn rule_faults(page: &str, files: &[(&str, &str)]) -> Vec<String> {
    let page = ("docs/rules/transitions.md", page);
    let files = std::iter::once(&page).chain(files);
    let files = files.map(|(file, text)| (PathBuf::from(file), (*text).to_owned()));
    let faults = rules::check(&crate::root(), &files.collect::<Vec<_>>());
    faults.into_iter().map(|fault| fault.what).collect()
}

fn rust_faults(file: &str, code: &str) -> Vec<String> {
    check_rust(Path::new(file), code).into_iter().map(|fault| fault.what).collect()
}
