//! The README's walk gives what the README shows.

use std::process::Command;

use crate::dev::Dev;

/// The part of the README that is walked through.
fn walk(readme: &str) -> &str {
    readme.split("## A walk with curl").nth(1).unwrap()
}

/// Shell blocks of a text, each with the output shown below it.
pub fn blocks(text: &str) -> Vec<(String, String)> {
    let mut pieces = text.split("```");
    let mut blocks = Vec::new();
    pieces.next();
    while let Some(block) = pieces.next() {
        let (language, text) = block.split_once('\n').unwrap();
        match language {
            "sh" => blocks.push((text.to_owned(), String::new())),
            "text" | "json" => {
                text.clone_into(&mut blocks.last_mut().expect("an output follows its command").1);
            }
            // Held against the examples, which are built and run.
            "rust" => {}
            // Users, which are made and used by `rights`.
            "redis" => {}
            other => panic!("who tests a block of {other:?}?"),
        }
        pieces.next();
    }
    blocks
}

/// Whether a text is as shown, where `…` stands for anything.
pub fn is_as_shown(text: &str, shown: &str) -> bool {
    let mut pieces: Vec<&str> = shown.split('…').collect();
    let (first, last) = (pieces.remove(0), pieces.pop());
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let Some(last) = last else {
        return rest.is_empty();
    };
    for piece in pieces {
        let Some(at) = rest.find(piece) else {
            return false;
        };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(last)
}

#[test]
fn the_matcher_can_fail() {
    assert!(is_as_shown("a1b2c", "a…b…c"));
    assert!(is_as_shown("{x{y}}", "{…}"));
    assert!(!is_as_shown("a1b2c", "a…c…b"));
    assert!(!is_as_shown("a1b2cd", "a…b…c"));
    assert!(!is_as_shown("ab", "a"));
}

#[tokio::test]
async fn every_command_of_the_walk_gives_what_is_shown() {
    let dev = Dev::new();
    let process = dev.start().await;
    let readme = include_str!("../../../../README.md");
    let blocks = blocks(walk(readme));
    assert!(blocks.len() >= 9);
    let mark = "---end-of-block---";
    let mut script = String::new();
    for (command, _) in &blocks {
        let command = command
            .replace("localhost:8000", &format!("127.0.0.1:{}", dev.gateway))
            .replace("-p 6390", &format!("-p {}", dev.redis_port()));
        script.push_str(&command);
        script.push_str(&format!("\necho '{mark}'\n"));
    }
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    let outputs: Vec<&str> = output.split(mark).map(str::trim).collect();
    assert_eq!(outputs.len(), blocks.len() + 1, "it came to its end");
    for ((command, shown), output) in blocks.iter().zip(outputs) {
        assert!(
            is_as_shown(output, shown.trim()),
            "{command}\nshown: {shown}\ngiven: {output}"
        );
    }
    assert!(process.stop().await.success());
}

#[test]
fn the_handler_shown_is_the_example() {
    let readme = include_str!("../../../../README.md");
    let example = include_str!("../../../../libs/worker/examples/greet.rs");
    let shown = readme
        .split("```rust\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    assert!(example.contains(shown.trim()), "README and example differ");
}
