//! Migrations are compiled in: a new file must rebuild the daemon.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
