//! `GET /stats`: what an app used, by the minute, hour, day and month.

use std::collections::BTreeMap;

use channels::AppId;
use metering::usage::{Counts, Interval, Period};
use serde::Serialize;
use serde_json::{Value, json};

use super::paging::{self, Links};
use super::{Answer, Direction, Exchange};
use crate::query::Query;
use crate::version::Version;
use crate::{Code, ErrorInfo};

/// What the names in `entries` mean, as Ably publishes it.
const SCHEMA: &str = "https://schemas.ably.com/json/app-stats-0.0.5.json";

/// A request for a page of statistics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatsQuery {
    /// Length of the periods.
    pub unit: Interval,
    direction: Direction,
    limit: usize,
    start_ms: u64,
    end_ms: u64,
    /// The last period of the page before this one.
    cursor: Option<Period>,
    now_ms: u64,
}

impl StatsQuery {
    /// Reads the query of a request at `now_ms` (40003).
    pub fn parse(query: &Query<'_>, now_ms: u64) -> Result<Self, ErrorInfo> {
        let unit = match query.get("unit") {
            None | Some("minute") => Interval::Minute,
            Some("hour") => Interval::Hour,
            Some("day") => Interval::Day,
            Some("month") => Interval::Month,
            Some(_) => return Err(Code::BadParam.says("unit must be minute, hour, day or month")),
        };
        let direction = Direction::parse(query)?;
        let start_ms = time(query, "start", Period::start_ms)?.unwrap_or_default();
        // The period that ends it belongs to it.
        let end_ms = time(query, "end", |period| period.end_ms() - 1)?.unwrap_or(now_ms).min(now_ms);
        let cursor =
            query.get("cursor").map(|text| text.parse::<Period>().ok().filter(|period| period.interval() == unit));
        if start_ms > end_ms {
            return Err(Code::BadParam.says("start must not be after end, nor after now"));
        }
        Ok(Self {
            unit,
            direction,
            limit: paging::limit(query)?,
            start_ms,
            end_ms,
            cursor: cursor
                .map(|cursor| cursor.ok_or_else(|| Code::BadParam.says("cursor is not one of a link")))
                .transpose()?,
            now_ms,
        })
    }

    /// From the period of which time to that of which time what was used has to be known, in milliseconds since the Unix
    /// epoch.
    pub fn range(&self) -> (u64, u64) {
        match (self.cursor, self.direction) {
            (Some(last), Direction::Backwards) => (self.start_ms, self.end_ms.min(last.start_ms())),
            (Some(last), Direction::Forwards) => (self.start_ms.max(last.start_ms()), self.end_ms),
            (None, Direction::Backwards | Direction::Forwards) => (self.start_ms, self.end_ms),
        }
    }

    /// The answer, of what `app` used in [`Self::range`], oldest first.
    pub fn answer(&self, exchange: &Exchange, app: &AppId, used: &[(Period, Counts)]) -> Answer {
        let beyond = |period: Period| {
            self.cursor.is_none_or(|last| match self.direction {
                Direction::Backwards => period < last,
                Direction::Forwards => period > last,
            })
        };
        let mut page: Vec<&(Period, Counts)> = used.iter().filter(|(period, _)| beyond(*period)).collect();
        if self.direction == Direction::Backwards {
            page.reverse();
        }
        let more = page.len() > self.limit;
        page.truncate(self.limit);
        let next = page.last().filter(|_| more).map(|(period, _)| period.to_string());
        let body = match exchange.version >= Version::COUNTED_BATCHES {
            true => exchange.body(&page.iter().map(|used| self.flat(app, used)).collect::<Vec<_>>()),
            false => exchange.body(&page.iter().map(|used| self.nested(used)).collect::<Vec<_>>()),
        };
        exchange.page(body, self.links(next.as_deref()))
    }

    fn links(&self, next: Option<&str>) -> Vec<String> {
        let params = vec![
            ("start", self.start_ms.to_string().into()),
            ("end", self.end_ms.to_string().into()),
            ("limit", self.limit.to_string().into()),
            ("direction", self.direction.word().into()),
            ("unit", unit(self.unit).into()),
        ];
        let cursor = self.cursor.map(|period| period.to_string());
        Links { segment: "stats", params }.values(cursor.as_deref(), next)
    }

    /// Up to which minute a period that still runs is counted.
    fn in_progress(&self, period: Period) -> Option<String> {
        (period.end_ms() > self.now_ms).then(|| Period::of(Interval::Minute, self.now_ms).to_string())
    }

    fn flat<'a>(&self, app: &'a AppId, (period, counts): &(Period, Counts)) -> StatsItem<'a> {
        StatsItem { in_progress: self.in_progress(*period), ..StatsItem::new(app, *period, counts) }
    }

    /// As versions before the third have it: objects in objects, and nothing that is zero.
    fn nested(&self, (period, counts): &(Period, Counts)) -> Value {
        let mut item = json!({ "intervalId": period.to_string(), "unit": unit(self.unit) });
        for (name, count) in entries(counts) {
            // Flat names have the kind of traffic in front, which nested ones do not.
            let path = name.strip_prefix("messages.").unwrap_or(name);
            let mut place = &mut item;
            for part in path.split('.') {
                place = &mut place[part];
            }
            *place = count.into();
        }
        if let Some(minute) = self.in_progress(*period) {
            item["inProgress"] = minute.into();
        }
        item
    }
}

/// A period's statistics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct StatsItem<'a> {
    interval_id: String,
    unit: &'static str,
    schema: &'static str,
    app_id: &'a str,
    entries: BTreeMap<&'static str, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    in_progress: Option<String>,
}

impl<'a> StatsItem<'a> {
    fn new(app: &'a AppId, period: Period, counts: &Counts) -> Self {
        Self {
            interval_id: period.to_string(),
            unit: unit(period.interval()),
            schema: SCHEMA,
            app_id: app.as_str(),
            entries: entries(counts),
            in_progress: None,
        }
    }
}

/// What `app` used in a period that is over, as JSON text: what metachannels tell.
pub fn stats_item(app: &AppId, period: Period, counts: &Counts) -> String {
    serde_json::to_string(&StatsItem::new(app, period, counts)).expect("names and numbers are JSON")
}

/// Counts by their names, without those that are zero.
fn entries(counts: &Counts) -> BTreeMap<&'static str, u64> {
    let all = [
        ("messages.all.all.count", counts.messages_in.saturating_add(counts.messages_out)),
        ("messages.all.all.data", counts.bytes_in.saturating_add(counts.bytes_out)),
        ("messages.all.messages.count", counts.messages_in.saturating_add(counts.messages_out)),
        ("messages.all.messages.data", counts.bytes_in.saturating_add(counts.bytes_out)),
        ("messages.inbound.all.all.count", counts.messages_in),
        ("messages.inbound.all.all.data", counts.bytes_in),
        ("messages.inbound.all.messages.count", counts.messages_in),
        ("messages.inbound.all.messages.data", counts.bytes_in),
        ("messages.outbound.all.all.count", counts.messages_out),
        ("messages.outbound.all.all.data", counts.bytes_out),
        ("messages.outbound.all.messages.count", counts.messages_out),
        ("messages.outbound.all.messages.data", counts.bytes_out),
        ("connections.all.opened", counts.connections_opened),
        ("connections.all.peak", counts.peak_connections),
        ("channels.peak", counts.peak_channels),
    ];
    all.into_iter().filter(|(_, count)| *count > 0).collect()
}

fn unit(interval: Interval) -> &'static str {
    match interval {
        Interval::Minute => "minute",
        Interval::Hour => "hour",
        Interval::Day => "day",
        Interval::Month => "month",
    }
}

/// A time, in milliseconds or as the id of a period, of which `of` says which time is meant (40003).
fn time(query: &Query<'_>, name: &str, of: impl Fn(Period) -> u64) -> Result<Option<u64>, ErrorInfo> {
    match query.get(name).and_then(|text| text.parse::<Period>().ok()) {
        Some(period) => Ok(Some(of(period))),
        None => paging::time(query, name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Format;

    /// 2026-11-22 14:05:09.123 UTC.
    const NOW: u64 = 1_795_356_309_123;

    fn parse(query: &str) -> Result<StatsQuery, u32> {
        StatsQuery::parse(&Query::parse(query).unwrap(), NOW).map_err(|error| error.code)
    }

    fn used(interval: Interval) -> Vec<(Period, Counts)> {
        let counts = Counts {
            messages_in: 3,
            bytes_in: 30,
            messages_out: 6,
            bytes_out: 60,
            peak_connections: 2,
            ..Counts::default()
        };
        let now = Period::of(interval, NOW);
        let before = |period: Period| Period::of(interval, period.start_ms() - 1);
        let two_before = before(before(now));
        [two_before, two_before.next(), now].map(|period| (period, counts.clone())).to_vec()
    }

    fn answer(query: &str, version: &str, interval: Interval) -> (Value, Vec<String>) {
        let exchange = Exchange { version: Version::parse(version).unwrap(), ..Exchange::default() };
        let app = AppId::new("app").unwrap();
        let answer = parse(query).unwrap().answer(&exchange, &app, &used(interval));
        let links = answer.headers.into_iter().map(|(name, link)| {
            assert_eq!(name, "link");
            link
        });
        (crate::wire::from_slice(Format::Json, &answer.body).unwrap(), links.collect())
    }

    #[test]
    fn flat_items() {
        let (items, links) = answer("unit=hour&limit=2", "6", Interval::Hour);
        let entries = json!({
            "messages.all.all.count": 9, "messages.all.all.data": 90,
            "messages.all.messages.count": 9, "messages.all.messages.data": 90,
            "messages.inbound.all.all.count": 3, "messages.inbound.all.all.data": 30,
            "messages.inbound.all.messages.count": 3, "messages.inbound.all.messages.data": 30,
            "messages.outbound.all.all.count": 6, "messages.outbound.all.all.data": 60,
            "messages.outbound.all.messages.count": 6, "messages.outbound.all.messages.data": 60,
            "connections.all.peak": 2,
        });
        let item = json!({
            "intervalId": "2026-11-22:14", "unit": "hour", "schema": SCHEMA, "appId": "app", "entries": entries,
            "inProgress": "2026-11-22:14:05",
        });
        assert_eq!(items[0], item);
        assert_eq!((&items[1]["intervalId"], items[1].get("inProgress")), (&json!("2026-11-22:13"), None));
        assert_eq!(items.as_array().unwrap().len(), 2);
        let expected = format!(
            "<./stats?start=0&end={NOW}&limit=2&direction=backwards&unit=hour&cursor=2026-11-22%3A13>; rel=\"next\""
        );
        assert_eq!(links[2], expected);
        let (items, links) = answer("unit=hour&limit=2&cursor=2026-11-22%3A13", "6", Interval::Hour);
        assert_eq!((&items[0]["intervalId"], links.len()), (&json!("2026-11-22:12"), 2));
    }

    #[test]
    fn nested_items() {
        let (items, _) = answer("direction=forwards&unit=day&limit=1", "1.2", Interval::Day);
        let both =
            |count, data| json!({"all": {"count": count, "data": data}, "messages": {"count": count, "data": data}});
        let item = json!({
            "intervalId": "2026-11-20", "unit": "day", "all": both(9, 90), "inbound": {"all": both(3, 30)},
            "outbound": {"all": both(6, 60)}, "connections": {"all": {"peak": 2}},
        });
        assert_eq!(items, json!([item]));
    }

    #[test]
    fn times_are_milliseconds_or_periods() {
        let range = |query: &str| parse(query).map(|query| query.range());
        assert_eq!(range(""), Ok((0, NOW)));
        assert_eq!(range("start=5&end=7"), Ok((5, 7)));
        let hour = "2026-11-22:13".parse::<Period>().unwrap();
        let within = Ok((hour.start_ms(), hour.end_ms() - 1));
        assert_eq!(range("start=2026-11-22:13&end=2026-11-22:13"), within);
        assert_eq!(range("start=2026-11-22:13&end=2026-11-22:13:59"), within);
        assert_eq!(range("end=2030-01"), Ok((0, NOW)), "nothing is known of the future");
        let cursor = "2026-11-22:13:30".parse::<Period>().unwrap().start_ms();
        assert_eq!(range("start=9&cursor=2026-11-22:13:30"), Ok((9, cursor)));
        assert_eq!(range("start=9&cursor=2026-11-22:13:30&direction=forwards"), Ok((cursor, NOW)));
        for query in [
            "unit=year",
            "start=x",
            "start=2&end=1",
            "start=2030-01",
            "limit=0",
            "direction=up",
            "cursor=x",
            "unit=hour&cursor=2026-11-22",
        ] {
            assert_eq!(range(query), Err(40003), "{query}");
        }
    }
}
