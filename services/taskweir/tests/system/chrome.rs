//! A headless Chromium, driven over WebDriver.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use taskweir_testkit::{eventually_within, free_port};

use crate::fleet::Process;

/// How a page is looked at.
#[derive(Debug, Clone, Copy, Default)]
pub struct Look {
    pub dark: bool,
    pub phone: bool,
}

/// A browser; ends with its driver.
pub struct Chrome {
    pub client: Client,
    _driver: Process,
    _profile: tempfile::TempDir,
}

fn target() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target")
}

impl Chrome {
    pub async fn start(look: Look) -> Self {
        let port = free_port();
        let child = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver is installed: see `make tools`");
        let driver = Process::of(child);
        let profile = tempfile::tempdir().unwrap();
        let (width, height) = if look.phone {
            (375, 812)
        } else {
            (1_280, 1_000)
        };
        let mut options = json!({
            "args": [
                "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars",
                "--disable-background-networking", "--disable-component-update", "--disable-sync",
                "--disable-dev-shm-usage",
                format!("--user-data-dir={}", profile.path().display()),
                format!("--window-size={width},{height}"),
            ],
            "mobileEmulation": {
                "deviceMetrics": { "width": width, "height": height, "pixelRatio": 1.0, "mobile": look.phone, "touch": look.phone },
            },
        });
        if look.dark {
            let args = options["args"].as_array_mut().unwrap();
            args.push(json!("--blink-settings=preferredColorScheme=0"));
        }
        let capabilities = json!({ "goog:chromeOptions": options });
        let url = format!("http://127.0.0.1:{port}");
        let client = eventually_within(Duration::from_secs(30), "the browser is up", async || {
            let mut builder = ClientBuilder::new(HttpConnector::new());
            builder.capabilities(capabilities.as_object().unwrap().clone());
            builder.connect(&url).await.ok()
        })
        .await;
        Self {
            client,
            _driver: driver,
            _profile: profile,
        }
    }

    /// Runs a script, gives what it returns.
    pub async fn run(&self, script: &str) -> Value {
        // A page that is left while it is asked gives no answer: the next one does.
        eventually_within(Duration::from_secs(10), script, async || {
            self.client.execute(script, Vec::new()).await.ok()
        })
        .await
    }

    pub async fn text(&self) -> String {
        let text = self.run("return document.body?.innerText ?? ''").await;
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the page says something.
    pub async fn says(&self, what: &str) {
        eventually_within(Duration::from_secs(30), what, async || {
            self.text().await.contains(what).then_some(())
        })
        .await;
    }

    /// Clicks the first element that a selector names.
    pub async fn click(&self, selector: &str) {
        self.click_at(Locator::Css(selector), selector).await;
    }

    /// Clicks the first button or link with this text.
    pub async fn press(&self, text: &str) {
        let path =
            format!("//*[self::a or self::button or self::summary][normalize-space()=\"{text}\"]");
        self.click_at(Locator::XPath(&path), text).await;
    }

    /// Clicks; a live update may take the element away between the look and the click.
    async fn click_at(&self, place: Locator<'_>, what: &str) {
        eventually_within(Duration::from_secs(10), what, async || {
            // A page that is on its way does not have it yet.
            let element = self.client.find(place).await.ok()?;
            // Taken away, or covered, or on a page that is being left: looked for again.
            element.click().await.ok()
        })
        .await;
    }

    /// Puts a text into a field; a live update may take the field away in between.
    pub async fn fill(&self, selector: &str, text: &str) {
        eventually_within(Duration::from_secs(10), selector, async || {
            let field = self.client.find(Locator::Css(selector)).await.ok()?;
            let put = async {
                field.clear().await?;
                field.send_keys(text).await
            };
            put.await.ok()
        })
        .await;
    }

    pub async fn path(&self) -> String {
        self.client.current_url().await.unwrap().path().to_owned()
    }

    /// Keeps a picture among the artefacts.
    pub async fn picture(&self, name: &str) {
        let dir = target().join("screenshots");
        std::fs::create_dir_all(&dir).unwrap();
        let picture = self.client.screenshot().await.unwrap();
        std::fs::write(dir.join(format!("{name}.png")), picture).unwrap();
    }

    /// What axe finds of serious or critical impact.
    pub async fn serious_findings(&self) -> Vec<String> {
        let axe = std::fs::read_to_string(target().join("tools/axe.min.js"));
        self.run(&axe.expect("axe is fetched: see `make tools`"))
            .await;
        let script = "const done = arguments[0]; axe.run().then(r => done(r.violations), e => done([{impact: 'critical', id: String(e), nodes: []}]))";
        let found = self.client.execute_async(script, Vec::new()).await.unwrap();
        let found = found.as_array().unwrap().iter();
        found
            .filter(|finding| {
                ["serious", "critical"].contains(&finding["impact"].as_str().unwrap_or_default())
            })
            .map(|finding| {
                let node = &finding["nodes"][0];
                format!(
                    "{}: {} {}",
                    finding["id"], node["html"], node["failureSummary"]
                )
            })
            .collect()
    }

    pub async fn close(self) {
        self.client.close().await.unwrap();
    }
}
