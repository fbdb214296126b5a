//! Listing apps, a page at a time.

use std::pin::pin;

use channels::AppId;
use futures_util::TryStreamExt as _;

use super::{APP_PREFIX, RegisteredApp, Registry, RegistryError, Unreadable, app_entry, app_of, stored};

/// Most stored bytes in one page of a list, so that many large apps do not make an answer that nobody takes: a gRPC
/// message is refused above 4 MiB unless told otherwise. A page has at least one app.
const MAX_PAGE_BYTES: usize = 1024 * 1024;

/// Some of the registered apps, ordered by id.
#[derive(Debug)]
pub struct Page {
    /// The apps.
    pub apps: Vec<RegisteredApp>,
    /// Entries between them that this process cannot read.
    pub unreadable: Vec<(AppId, Unreadable)>,
    /// Where the next page begins; `None` on the last one.
    pub next: Option<AppId>,
}

impl Registry {
    /// At most `most` apps, fewer if they are large (at least one is looked at), beginning behind `after`. Reads the ids
    /// of all apps, but only the apps of the page.
    pub async fn list(&self, after: Option<&AppId>, most: usize) -> Result<Page, RegistryError> {
        let keys = self.apps.keys(APP_PREFIX.trim_end_matches('.')).await?;
        let after = after.map(app_entry);
        let first = keys.partition_point(|key| after.as_ref().is_some_and(|after| key <= after));
        let mut entries = pin!(self.apps.read(&keys[first..]));
        let mut page = Page { apps: Vec::new(), unreadable: Vec::new(), next: None };
        let mut room = MAX_PAGE_BYTES;
        let mut looked_at = 0;
        while let Some(entry) = entries.try_next().await? {
            let Some(id) = app_of(&entry.key) else { continue };
            if looked_at > 0 && (looked_at == most || entry.value.len() > room) {
                return Ok(page);
            }
            looked_at += 1;
            room = room.saturating_sub(entry.value.len());
            match stored::decode(&id, &entry.value, entry.revision, &self.keys) {
                Ok(app) => page.apps.push(app),
                Err(unreadable) => page.unreadable.push((id.clone(), unreadable)),
            }
            page.next = Some(id);
        }
        page.next = None;
        Ok(page)
    }
}
