//! The worker that the book shows, as a process of its own.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use taskweir_domain::{ErrorKind, Status};
use taskweir_testkit::eventually;

use crate::bench::Bench;

/// Ends with the test, whatever becomes of it.
struct Greeter(Child);

impl Drop for Greeter {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Examples are built beside tests.
fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(2).unwrap().join("examples/greet")
}

#[tokio::test]
async fn the_program_that_the_book_shows_greets_and_stops_when_told() {
    let bench = Bench::new().await;
    let greets = async |data: &str, status| {
        let id = bench
            .submit_with("greet", data, |spec| {
                spec.queue = "greetings".parse().unwrap();
            })
            .await;
        bench.reaches(id, status).await
    };
    let mut greeter = Greeter(
        Command::new(program())
            .arg(bench.redis.url())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the example is built with the tests"),
    );
    let greeted = greets(r#""Ada""#, Status::Completed).await;
    assert_eq!(
        greeted.result.unwrap().as_str(),
        r#""hello Ada, in attempt 1""#
    );
    let nobody = greets(r#""""#, Status::Failed).await.error.unwrap();
    assert_eq!(
        (nobody.kind, nobody.message.as_str()),
        (ErrorKind::Fatal, "a name is needed")
    );
    let told = Command::new("kill")
        .args(["-INT", &greeter.0.id().to_string()])
        .status();
    assert!(told.unwrap().success());
    let ended = eventually("it stops", async || greeter.0.try_wait().unwrap()).await;
    assert!(ended.success(), "{ended}");
}
