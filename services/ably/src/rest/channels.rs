//! `GET /channels`: which channels there are.

use super::paging::{self, Links};
use crate::query::Query;
use crate::version::Version;
use crate::{Code, ErrorInfo};

/// What is told of each channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelsBy {
    /// Its name.
    Id,
    /// Its [`crate::occupancy::ChannelDetails`].
    Value,
}

/// A request for a page of channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelsQuery {
    /// What is told.
    pub by: ChannelsBy,
    limit: usize,
    prefix: String,
    /// The last channel of the page before this one.
    cursor: Option<String>,
}

impl ChannelsQuery {
    /// Reads the query of a request (40003).
    pub fn parse(query: &Query<'_>, version: Version) -> Result<Self, ErrorInfo> {
        let by = match query.get("by") {
            Some("id") => ChannelsBy::Id,
            Some("value") => ChannelsBy::Value,
            Some(_) => return Err(Code::BadParam.says("by must be id or value")),
            None if version >= Version::COUNTED_BATCHES => ChannelsBy::Id,
            None => ChannelsBy::Value,
        };
        let prefix = query.get("prefix").unwrap_or_default().to_owned();
        let cursor = query.get("cursor").map(str::to_owned);
        Ok(Self { by, limit: paging::limit(query)?, prefix, cursor })
    }

    /// The page, of all channels in order, and its `Link` headers. Names that begin with `#` are internal.
    pub fn page<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> (Vec<&'a str>, Vec<String>) {
        let mut found: Vec<&str> = names
            .into_iter()
            .filter(|name| name.starts_with(&self.prefix) && !name.starts_with('#'))
            .filter(|name| self.cursor.as_ref().is_none_or(|cursor| *name > cursor.as_str()))
            .take(self.limit + 1)
            .collect();
        let more = found.len() > self.limit;
        found.truncate(self.limit);
        let links = self.links(found.last().copied().filter(|_| more));
        (found, links)
    }

    fn links(&self, next: Option<&str>) -> Vec<String> {
        let by = match self.by {
            ChannelsBy::Id => "id",
            ChannelsBy::Value => "value",
        };
        let mut params = vec![("limit", self.limit.to_string().into()), ("by", by.into())];
        params.extend((!self.prefix.is_empty()).then(|| ("prefix", self.prefix.as_str().into())));
        Links { segment: "channels", params }.values(self.cursor.as_deref(), next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 5] = ["#server-to-user-1", "a:1", "a:2", "a:3", "b"];

    fn parse(query: &str, version: &str) -> Result<ChannelsQuery, u32> {
        let version = Version::parse(version).unwrap();
        ChannelsQuery::parse(&Query::parse(query).unwrap(), version).map_err(|error| error.code)
    }

    #[test]
    fn pages_by_prefix() {
        let page = |query: &str| parse(query, "6").unwrap().page(NAMES);
        assert_eq!(page("").0, ["a:1", "a:2", "a:3", "b"]);
        let (names, links) = page("prefix=a:&limit=2");
        assert_eq!(names, ["a:1", "a:2"]);
        assert_eq!(links[2], r#"<./channels?limit=2&by=id&prefix=a%3A&cursor=a%3A2>; rel="next""#);
        let (names, links) = page("limit=2&by=id&prefix=a%3A&cursor=a%3A2");
        assert_eq!((names, links.len()), (vec!["a:3"], 2));
    }

    #[test]
    fn what_is_told_depends_on_the_version() {
        let by = |query, version| parse(query, version).map(|query| query.by);
        assert_eq!(by("", "3"), Ok(ChannelsBy::Id));
        assert_eq!(by("", "2"), Ok(ChannelsBy::Value));
        assert_eq!(by("by=id", "1.2"), Ok(ChannelsBy::Id));
        assert_eq!(by("by=value", "6"), Ok(ChannelsBy::Value));
        assert_eq!(by("by=name", "6"), Err(40003));
    }
}
