//! Processes that are killed, frozen and started again.

use std::fs::OpenOptions;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A child; killed when dropped.
#[derive(Debug)]
pub(crate) struct Process(Child);

impl Process {
    /// Starts a command with what it says appended to a file.
    pub(crate) fn start(command: &mut Command, log: &Path) -> std::io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()?;
        Ok(Self(child))
    }

    /// As `kill -9` would.
    pub(crate) fn kill(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }

    /// Whether it runs (or is frozen).
    pub(crate) fn lives(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }

    pub(crate) fn freeze(&self) {
        self.signal("STOP");
    }

    pub(crate) fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let pid = self.0.id().to_string();
        Command::new("kill")
            .args([&format!("-{name}"), &pid])
            .status()
            .ok();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A loopback port that was free a moment ago, below those that systems give to outgoing connections: one of these
/// could have it while the process that it is for is dead.
pub(crate) fn free_port() -> std::io::Result<u16> {
    loop {
        let port = rand::random_range(10_240..32_000);
        match std::net::TcpListener::bind(("127.0.0.1", port)) {
            Ok(_) => return Ok(port),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(error),
        }
    }
}
