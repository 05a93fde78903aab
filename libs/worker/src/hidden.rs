//! What the words of a handler must not tell: an error or a progress that quotes its payload would carry what is hidden
//! there into histories, lists, the feed and logs.

use std::sync::Arc;

use taskweir_domain::{Json, Redaction};

/// The payload of an attempt and what is hidden of it; nothing where nothing is hidden.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hidden(Option<Arc<(Arc<Redaction>, Json)>>);

impl Hidden {
    pub(crate) fn of(redaction: &Arc<Redaction>, payload: Option<&Json>) -> Self {
        let payload = payload.filter(|_| !redaction.is_empty());
        Self(payload.map(|payload| Arc::new((Arc::clone(redaction), payload.clone()))))
    }

    /// Words without what is hidden.
    pub(crate) fn reword(&self, words: &str) -> String {
        match self.0.as_deref() {
            Some((redaction, payload)) => redaction.of_words(words, payload.as_str()).into_owned(),
            None => words.to_owned(),
        }
    }
}
