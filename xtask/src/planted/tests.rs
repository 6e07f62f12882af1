use tempfile::TempDir;

use super::*;

const PATCH: &str = "\
# fault: two is called three
# command: cargo test --test sim words
# complaint: three

diff --git a/src/words.rs b/src/words.rs
--- a/src/words.rs
+++ b/src/words.rs
@@ -2,3 +2,3 @@ fn words() {
 one
-two
+three

@@ -8 +8,2 @@
 last
+more
";

const WORDS: &str = "moved\nmoved\nzero\none\ntwo\n\nfour\nlast\n";

fn tree(words: &str) -> TempDir {
    let folder = TempDir::new().expect("a folder can be made");
    fs::create_dir_all(folder.path().join("src")).expect("a folder can be made");
    fs::write(folder.path().join("src/words.rs"), words).expect("a file can be written");
    folder
}

fn parsed() -> Planted {
    Planted::parse("words".to_owned(), PATCH).expect("the patch is well-formed")
}

#[test]
fn a_patch_names_its_fault_its_command_and_the_expected_complaint() {
    let planted = parsed();

    assert_eq!(planted.fault, "two is called three");
    assert_eq!(planted.command, ["test", "--test", "sim", "words"]);
    assert_eq!(planted.complaint, "three");
}

#[test]
fn a_patch_without_a_required_line_is_refused() {
    for missing in ["fault", "command", "complaint"] {
        let text = PATCH.replace(&format!("# {missing}: "), "# ");
        let error = Planted::parse("words".to_owned(), &text).expect_err("a line is missing");
        assert!(error.to_string().contains(missing), "{error}");
    }
    let other = PATCH.replace("cargo test", "cargo run");
    assert!(Planted::parse("words".to_owned(), &other).is_err());
}

#[test]
fn a_patch_applies_where_its_lines_are_also_when_they_moved() {
    let tree = tree(WORDS);

    let changed = parsed().patch.apply_to(tree.path()).expect("it applies");

    let words = &changed[Path::new("src/words.rs")];
    assert_eq!(words, "moved\nmoved\nzero\none\nthree\n\nfour\nlast\nmore\n");
}

#[test]
fn a_patch_whose_lines_are_gone_does_not_apply_and_says_where() {
    let tree = tree("zero\none\n2\n\nfour\nlast\n");

    let error = parsed().patch.apply_to(tree.path()).expect_err("it does not apply");

    assert!(error.to_string().contains("src/words.rs:2"), "{error}");
}

#[test]
fn a_patch_that_is_cut_off_is_refused() {
    let cut = PATCH.strip_suffix("+more\n").expect("it ends so");

    assert!(Planted::parse("words".to_owned(), cut).is_err());
}
