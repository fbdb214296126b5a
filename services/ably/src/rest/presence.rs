//! `GET /channels/{channel}/presence`: who is there.

use bytes::Bytes;
use channels::{Member, MemberData};

use super::paging::{self, Links};
use crate::ErrorInfo;
use crate::encode::member_list;
use crate::query::Query;
use crate::wire::Format;

/// A request for a page of members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresenceQuery {
    limit: usize,
    client_id: Option<String>,
    connection_id: Option<String>,
    /// The key of the last member of the page before this one.
    cursor: Option<String>,
}

/// A page of members.
#[derive(Debug)]
pub struct MembersPage<'a> {
    members: Vec<(&'a Member, &'a MemberData)>,
    /// Its `Link` headers.
    pub links: Vec<String>,
}

impl PresenceQuery {
    /// Reads the query of a request (40003).
    pub fn parse(query: &Query<'_>) -> Result<Self, ErrorInfo> {
        let text = |name| query.get(name).filter(|text| !text.is_empty()).map(str::to_owned);
        Ok(Self {
            limit: paging::limit(query)?,
            client_id: text("clientId"),
            connection_id: text("connectionId"),
            cursor: text("cursor"),
        })
    }

    /// The page, of all members in whatever order.
    pub fn page<'a>(&self, members: &'a [(Member, MemberData)]) -> MembersPage<'a> {
        let is = |wanted: &Option<String>, value: &str| wanted.as_ref().is_none_or(|wanted| wanted == value);
        let mut found: Vec<_> = members
            .iter()
            .filter(|(member, _)| is(&self.client_id, member.user.as_str()))
            .filter(|(member, _)| is(&self.connection_id, member.connection.as_str()))
            .map(|(member, data)| (key(member), member, data))
            .filter(|(key, ..)| self.cursor.as_ref().is_none_or(|cursor| key > cursor))
            .collect();
        found.sort_unstable_by(|(one, ..), (other, ..)| one.cmp(other));
        let more = found.len() > self.limit;
        found.truncate(self.limit);
        let next = found.last().filter(|_| more).map(|(key, ..)| key.as_str());
        let links = self.links(next);
        MembersPage { members: found.into_iter().map(|(_, member, data)| (member, data)).collect(), links }
    }

    fn links(&self, next: Option<&str>) -> Vec<String> {
        let mut params = vec![("limit", self.limit.to_string().into())];
        for (name, value) in [("clientId", &self.client_id), ("connectionId", &self.connection_id)] {
            params.extend(value.as_deref().map(|value| (name, value.into())));
        }
        Links { segment: "presence", params }.values(self.cursor.as_deref(), next)
    }
}

impl MembersPage<'_> {
    /// The body: present members.
    pub fn body(&self, format: Format) -> Bytes {
        member_list(format, &self.members)
    }
}

/// What a member is known by, and the order of pages.
fn key(member: &Member) -> String {
    format!("{}:{}", member.connection, member.user)
}

#[cfg(test)]
mod tests {
    use channels::{ClientId, ConnectionId};
    use serde_json::Value;

    use super::*;

    fn members() -> Vec<(Member, MemberData)> {
        let member = |connection: &str, user: &str| Member {
            connection: ConnectionId::new(connection).unwrap(),
            user: ClientId::new(user).unwrap(),
        };
        let all = [("c2", "bob"), ("c1", "bob"), ("c1", "ann é"), ("c3", "eve")];
        all.map(|(connection, user)| (member(connection, user), MemberData::default())).to_vec()
    }

    fn page(query: &str) -> (Vec<String>, Vec<String>) {
        let members = members();
        let page = PresenceQuery::parse(&Query::parse(query).unwrap()).unwrap().page(&members);
        let body: Vec<Value> = serde_json::from_slice(&page.body(Format::Json)).unwrap();
        assert!(body.iter().all(|item| item["action"] == 1));
        let keys = body
            .iter()
            .map(|item| format!("{}:{}", item["connectionId"].as_str().unwrap(), item["clientId"].as_str().unwrap()));
        (keys.collect(), page.links)
    }

    #[test]
    fn filters_and_pages() {
        assert_eq!(page("").0, ["c1:ann é", "c1:bob", "c2:bob", "c3:eve"]);
        assert_eq!(page("clientId=bob").0, ["c1:bob", "c2:bob"]);
        assert_eq!(page("connectionId=c1&clientId=bob").0, ["c1:bob"]);
        assert_eq!(page("connectionId=c9").0, [""; 0]);
        let (keys, links) = page("limit=1&connectionId=c1");
        assert_eq!(keys, ["c1:ann é"]);
        let expected = "<./presence?limit=1&connectionId=c1&cursor=c1%3Aann%20%C3%A9>; rel=\"next\"";
        assert_eq!(links[2], expected);
        let (keys, links) = page("limit=1&connectionId=c1&cursor=c1%3Aann%20%C3%A9");
        assert_eq!((keys.as_slice(), links.len()), (["c1:bob".to_owned()].as_slice(), 2));
        assert_eq!(page("limit=4").1.len(), 2, "the last page has no next one");
        assert!(PresenceQuery::parse(&Query::parse("limit=0").unwrap()).is_err());
    }
}
