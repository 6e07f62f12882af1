//! Chores of the workspace.
use anyhow::Result;
use std::path::Path;
fn main() -> Result<()> {
    let to = Path::new("target/tools/protoc");
    std::fs::create_dir_all("target/tools")?;
    std::fs::copy(protoc_bin_vendored::protoc_bin_path()?, to)?;
    Ok(())
}
