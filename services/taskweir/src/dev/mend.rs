//! Mending Redis' file before Redis reads it (docs/DURABILITY.md): a power loss may have torn its last transaction, and
//! Redis leaves the beginning of that in the file, to apply half of it at the start after the next.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, bail};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Cuts a torn transaction off the file in a directory whose server does not run; does nothing to a sound file.
///
/// # Errors
/// The file is damaged elsewhere than at its end.
pub(super) async fn mend(data: &Path) -> anyhow::Result<()> {
    let parts = data.join("appendonlydir/appendonly.aof.manifest");
    // Redis 6.2 has one file.
    let whole = data.join("appendonly.aof");
    let Some(file) = [parts, whole].into_iter().find(|file| file.exists()) else {
        return Ok(());
    };
    let mut check = Command::new("redis-check-aof")
        .arg("--fix")
        .arg(&file)
        .kill_on_drop(true)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("redis-check-aof is not installed: it comes with redis-server")?;
    if let Some(mut asked) = check.stdin.take() {
        // It asks only where there is something to cut.
        asked.write_all(b"y\n").await.ok();
    }
    let said = check.wait_with_output().await?;
    if !said.status.success() {
        bail!(
            "{} is damaged, and redis-check-aof could not mend it; restore a backup, or mend it by hand",
            file.display()
        );
    }
    if String::from_utf8_lossy(&said.stdout).contains("uccessfully truncated") {
        tracing::warn!(file = %file.display(), "a torn transaction was cut off Redis' file: it was never acknowledged as synced");
    }
    Ok(())
}
