//! Every command of the book is run, in the order of its pages, and gives what the book shows.

use std::path::{Path, PathBuf};

use taskweir_testkit::free_port;

use crate::dev::Dev;
use crate::readme::{blocks, is_as_shown};

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

/// The pages in their order.
fn pages() -> Vec<String> {
    let summary = std::fs::read_to_string(docs().join("SUMMARY.md")).unwrap();
    let links = summary.lines().filter_map(|line| {
        let (_, rest) = line.split_once("](")?;
        Some(rest.strip_suffix(')').unwrap().to_owned())
    });
    links.collect()
}

#[test]
fn every_page_is_in_the_book_and_every_link_leads_somewhere() {
    let pages = pages();
    for entry in std::fs::read_dir(docs()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".md") && name != "SUMMARY.md" {
            assert!(pages.contains(&name), "{name} is not in SUMMARY.md");
        }
    }
    for page in &pages {
        let text = std::fs::read_to_string(docs().join(page)).expect(page);
        for piece in text.split("](").skip(1) {
            let link = piece.split(')').next().unwrap().split('#').next().unwrap();
            let outside = link.is_empty() || link.contains("://");
            assert!(
                outside || docs().join(link).exists(),
                "{page} links to {link}"
            );
        }
        for piece in text.split("{{#include ").skip(1) {
            let file = piece.split(['}', ':']).next().unwrap();
            assert!(docs().join(file).exists(), "{page} includes {file}");
        }
    }
}

/// The Redis into which the book restores a backup.
struct Restored(u16);

impl Drop for Restored {
    fn drop(&mut self) {
        let port = self.0.to_string();
        let mut stop = std::process::Command::new("redis-cli");
        stop.args(["-p", &port, "SHUTDOWN", "NOSAVE"]);
        // Where it never came up there is nothing to stop.
        let _ = stop.output();
    }
}

#[tokio::test]
async fn every_command_of_the_book_gives_what_is_shown() {
    let dev = Dev::new();
    let process = dev.start().await;
    let program = Path::new(env!("CARGO_BIN_EXE_taskweir"));
    let path = std::env::vars_os()
        .find(|(name, _)| name == "PATH")
        .unwrap()
        .1;
    let path = format!(
        "{}:{}",
        program.parent().unwrap().display(),
        path.to_str().unwrap()
    );
    let (redis_port, restored) = (dev.redis_port(), Restored(free_port()));
    let run = |page: &str, shell: &str, shown: &str| {
        assert!(!shown.is_empty(), "{page}: what does it print? {shell}");
        let shell = shell
            .replace("localhost:8000", &format!("127.0.0.1:{}", dev.gateway))
            .replace("-p 6390", &format!("-p {}", redis_port))
            .replace("6399", &restored.0.to_string());
        let output = std::process::Command::new("bash")
            .args(["-euo", "pipefail", "-c", &shell])
            .current_dir(dev.dir.path())
            .env("PATH", &path)
            .env("TASKWEIR_URL", dev.url(""))
            .output()
            .unwrap();
        let given = String::from_utf8_lossy(&output.stdout).into_owned();
        let wrong = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{page}: {shell}{given}{wrong}");
        assert!(
            is_as_shown(given.trim(), shown.trim()),
            "{page}: {shell}\nshown: {shown}\ngiven: {given}{wrong}"
        );
    };
    let texts = pages().into_iter().map(|page| {
        let text = std::fs::read_to_string(docs().join(&page)).unwrap();
        (page, blocks(&text))
    });
    let texts: Vec<_> = texts.collect();
    // The file of a Redis is mended before it starts, not while it runs.
    let (after, during): (Vec<_>, Vec<_>) = texts
        .iter()
        .flat_map(|(page, blocks)| blocks.iter().map(move |block| (page, block)))
        .partition(|(_, (shell, _))| shell.starts_with("redis-check-aof"));
    assert!(during.len() >= 10 && after.len() == 1);
    for (page, (shell, shown)) in during {
        run(page, shell, shown);
    }
    assert!(process.stop().await.success());
    for (page, (shell, shown)) in after {
        run(page, shell, shown);
    }
}
