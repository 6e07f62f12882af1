use std::path::Path;

use super::code::cited;
use super::proof::by_rule;
use super::{page, proof, row, with_table};

const PAGE: &str = "# Transitions

### T7

A take.

Built: yes, in `src`.

### T8

A hold.

Built: no.
";

const TESTS: &str = "// spec: T7 FL-F1
#[tokio::test(start_paused = true)]
async fn a_take() {}

/// A law of LND, checked on several nodes.
// spec: INV-3 T7
pub(crate) async fn a_law(fixture: &Fixture) {}
";

#[test]
fn codes_are_found_in_prose() {
    let found = cited("(T13, T15/T17): P0-P12 and D39–D45; K-63's, FL-F1b, INV-3.");
    let codes = ["T13", "T15", "T17", "P0", "P12", "D39", "D45", "K-63", "FL-F1b", "INV-3"];
    assert_eq!(found, codes);
}

#[test]
fn each_rule_lists_the_tests_that_name_it() {
    let proofs = by_rule(&proof::read(Path::new("src/b.rs"), TESTS).proofs);
    let rendered = page::render(PAGE, &proofs);

    let list = "Built: yes, in `src`.

<details><summary>Proved by 2 tests</summary>

- `src/b.rs`: `a_law`
- `src/b.rs`: `a_take`

</details>

### T8
";
    assert!(rendered.contains(list), "{rendered}");
    assert!(rendered.ends_with("\nBuilt: no.\n"), "{rendered}");
}

#[test]
fn regenerated_lists_are_stable_and_replace_old_ones() {
    let proofs = by_rule(&proof::read(Path::new("src/b.rs"), TESTS).proofs);
    let once = page::render(PAGE, &proofs);

    assert_eq!(page::render(&once, &proofs), once);
    assert_eq!(page::render(&once, &by_rule(&[])), PAGE);
}

#[test]
fn the_index_counts_what_is_built() {
    let index = "# Rules\n\n<!-- by `cargo xtask rules` -->\n<!-- until here -->\n\nMore.\n";
    let rows = [row("transitions.md", PAGE)];

    let once = with_table(index, &rows).unwrap();

    assert!(once.contains("| [Transitions](transitions.md) | T7 to T8 | 1 | 0 | 1 |"), "{once}");
    assert_eq!(with_table(&once, &rows).unwrap(), once);
}
