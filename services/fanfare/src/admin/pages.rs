//! Listings that come a page at a time.

use super::Failure;

/// Items asked for at one time; the server's most.
pub(super) const PAGE_SIZE: u32 = 1_000;

/// Items of all pages, at most `most`, and the token of the page that would come next. `page` gets how many items to ask
/// for, and the token of the page.
pub(super) async fn all<T>(
    most: Option<u32>,
    mut page: impl AsyncFnMut(u32, String) -> Result<(Vec<T>, String), Failure>,
) -> Result<(Vec<T>, String), Failure> {
    let mut items = Vec::new();
    let mut page_token = String::new();
    loop {
        let taken = u32::try_from(items.len()).unwrap_or(u32::MAX);
        let size = most.map_or(PAGE_SIZE, |most| most.saturating_sub(taken).min(PAGE_SIZE));
        if size == 0 {
            return Ok((items, page_token));
        }
        let (some, next) = page(size, page_token).await?;
        items.extend(some);
        page_token = next;
        if page_token.is_empty() {
            return Ok((items, page_token));
        }
    }
}

/// Nodes that did not answer for one page or another.
pub(super) fn once_each(unreached: &mut Vec<String>) {
    unreached.sort();
    unreached.dedup();
}

/// What people are told below a listing that is not all there is.
pub(super) fn remark(next_page_token: &str, unreached: &[String]) -> String {
    let mut text = String::new();
    if !next_page_token.is_empty() {
        text.push_str("there are more; --most shows them\n");
    }
    if !unreached.is_empty() {
        text.push_str(&format!("not complete: no answer from {}\n", unreached.join(", ")));
    }
    text
}
