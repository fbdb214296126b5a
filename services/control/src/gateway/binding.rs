//! From the parts of an HTTP request to the message that a method takes.

use proto::json::prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage as _, Value,
};
use proto::json::{ReadError, read};
use serde_json::{Map, Value as Json, json};

use super::routes::Found;
use crate::Mistake;

/// The one message type that is a string in JSON.
pub(super) const FIELD_MASK: &str = "google.protobuf.FieldMask";

/// The message that a request means.
pub(super) fn message(found: &Found<'_>, query: &str, body: &[u8]) -> Result<DynamicMessage, Mistake> {
    let route = found.route;
    let input = route.method.input();
    let mut message = match (route.has_body, body) {
        (true, body) => from_json(&input, body)?,
        (false, []) => DynamicMessage::new(input),
        (false, _) => return Err(mistake("body", "is not for this method, whose fields go into the query")),
    };
    for (path, text) in &found.variables {
        let own = own_text(&message, path);
        if own.is_some_and(|own| own != *text) {
            return Err(mistake(*path, "is another one in the path"));
        }
        set(&mut message, path, text)?;
    }
    let mut given = Vec::new();
    for (path, text) in form_urlencoded::parse(query.as_bytes()) {
        if route.has_body {
            return Err(mistake(&*path, "belongs in the body"));
        }
        let field = set(&mut message, &path, &text)?;
        if !field.is_list() && (given.contains(&field) || found.variables.iter().any(|(other, _)| *other == path)) {
            return Err(mistake(&*path, "is given twice"));
        }
        given.push(field);
    }
    Ok(message)
}

fn mistake(place: impl Into<String>, problem: impl Into<String>) -> Mistake {
    Mistake { place: place.into(), problem: problem.into() }
}

/// What the field at `path` is in the body, where it is there.
fn own_text(message: &DynamicMessage, path: &str) -> Option<String> {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let field = field(&message.descriptor(), first).filter(|field| message.has_field(field))?;
    let value = message.get_field(&field);
    match rest {
        Some(rest) => own_text(value.as_message()?, rest),
        None => value.as_str().map(str::to_owned),
    }
}

/// Puts what `text` says into the field at `path`, or adds it to the list there.
fn set(message: &mut DynamicMessage, path: &str, text: &str) -> Result<FieldDescriptor, Mistake> {
    let (target, field) = place(message, path).ok_or_else(|| mistake(path, "is no field of this request"))?;
    let single = match field.kind() {
        _ if field.is_map() => None,
        Kind::Message(kind) => (kind.full_name() == FIELD_MASK).then(|| json!(text)),
        Kind::Bool => text.parse::<bool>().ok().map(Json::from),
        Kind::Enum(_) => Some(text.parse::<i32>().map_or_else(|_| json!(text), Json::from)),
        // Numbers may be strings in JSON, too.
        _ => Some(json!(text)),
    };
    let single = single.ok_or_else(|| mistake(path, format!("{text:?} cannot be read")))?;
    let json = if field.is_list() { json!([single]) } else { single };
    let alone = read(target.descriptor(), &json!({ field.name(): json }).to_string());
    let alone = alone.map_err(|error| mistake(path, error.to_string()))?;
    match alone.get_field(&field).into_owned() {
        Value::List(items) => {
            if let Some(list) = target.get_field_mut(&field).as_list_mut() {
                list.extend(items);
            }
        }
        value => target.set_field(&field, value),
    }
    Ok(field)
}

/// The message that the last field of `path` is in, and that field.
fn place<'m>(message: &'m mut DynamicMessage, path: &str) -> Option<(&'m mut DynamicMessage, FieldDescriptor)> {
    match path.split_once('.') {
        None => {
            let field = field(&message.descriptor(), path)?;
            Some((message, field))
        }
        Some((first, rest)) => {
            let field = field(&message.descriptor(), first)?;
            place(message.get_field_mut(&field).as_message_mut()?, rest)
        }
    }
}

/// The field with this name, as in the `.proto` file or in protobuf's JSON form.
pub(super) fn field(message: &MessageDescriptor, name: &str) -> Option<FieldDescriptor> {
    message.get_field_by_name(name).or_else(|| message.get_field_by_json_name(name))
}

/// The message that a body holds. An empty body is a message with nothing in it.
fn from_json(descriptor: &MessageDescriptor, body: &[u8]) -> Result<DynamicMessage, Mistake> {
    let text = std::str::from_utf8(body).map_err(|error| mistake("body", error.to_string()))?;
    let text = if text.trim().is_empty() { "{}" } else { text };
    read(descriptor.clone(), text).map_err(|error| match serde_json::from_str(text) {
        Ok(Json::Object(object)) => {
            culprit(descriptor, "", object).unwrap_or_else(|| mistake("body", error.to_string()))
        }
        Ok(_) => mistake("body", "is not a JSON object"),
        Err(error) => mistake("body", format!("is not JSON: {error}")),
    })
}

/// The field below `place` that cannot be read, and why not.
fn culprit(descriptor: &MessageDescriptor, place: &str, object: Map<String, Json>) -> Option<Mistake> {
    object.into_iter().find_map(|(name, value)| {
        let place = if place.is_empty() { name.clone() } else { format!("{place}.{name}") };
        let Some(field) = field(descriptor, &name) else {
            return Some(mistake(place, "is no field of this request"));
        };
        let error: ReadError = read(descriptor.clone(), &json!({ name: value }).to_string()).err()?;
        let inner = match field.kind() {
            Kind::Message(_) if field.is_map() => None,
            Kind::Message(inner) if inner.full_name() != FIELD_MASK => Some(inner),
            _ => None,
        };
        let below = inner.and_then(|inner| match value {
            Json::Object(object) if !field.is_list() => culprit(&inner, &place, object),
            Json::Array(items) if field.is_list() => {
                items.into_iter().enumerate().find_map(|(index, item)| match item {
                    Json::Object(object) => culprit(&inner, &format!("{place}[{index}]"), object),
                    _ => None,
                })
            }
            _ => None,
        });
        Some(below.unwrap_or_else(|| mistake(place, error.to_string())))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::routes::Routes;
    use proto::control as wire;
    use tonic::codegen::http::Method;

    fn bound(verb: Method, path: &str, query: &str, body: &str) -> Result<DynamicMessage, Mistake> {
        let routes = Routes::new(proto::json::descriptors());
        message(&routes.find(&verb, path).unwrap(), query, body.as_bytes())
    }

    fn refused(verb: Method, path: &str, query: &str, body: &str) -> String {
        bound(verb, path, query, body).unwrap_err().to_string()
    }

    #[test]
    fn the_query_holds_what_the_path_does_not() {
        for query in [
            "interval=INTERVAL_DAY&start_ms=7&page_token=a%20b%2B&page_size=3",
            "interval=3&startMs=7&pageToken=a+b%2b&pageSize=3",
        ] {
            let message = bound(Method::GET, "/v1/apps/a%62/usage", query, "").unwrap();
            let expected = wire::QueryUsageRequest {
                app_id: "ab".to_owned(),
                interval: wire::Interval::Day.into(),
                start_ms: 7,
                page_token: "a b+".to_owned(),
                page_size: 3,
                ..Default::default()
            };
            assert_eq!(message.transcode_to::<wire::QueryUsageRequest>().unwrap(), expected);
        }
        let get = |query| refused(Method::GET, "/v1/apps/1/usage", query, "");
        assert!(get("interval=DAY").starts_with("interval: "));
        assert!(get("page_size=-1").starts_with("page_size: "));
        assert!(get("page_size=").starts_with("page_size: "));
        assert_eq!(get("page_size=1&pageSize=2"), "pageSize: is given twice");
        assert_eq!(get("app_id=1"), "app_id: is given twice");
        assert_eq!(get("colour=red"), "colour: is no field of this request");
        assert_eq!(get("app_id.x=1"), "app_id.x: is no field of this request");
        assert!(refused(Method::GET, "/v1/apps/1", "", "{}").starts_with("body: "));
        assert_eq!(refused(Method::POST, "/v1/apps", "id=1", ""), "id: belongs in the body");
    }

    /// No method takes these in its query, but one may.
    #[test]
    fn nested_and_repeated_fields() {
        let mut update = DynamicMessage::new(proto::json::descriptor::<wire::UpdateAppRequest>());
        set(&mut update, "app.quota.historyBytes", "12").unwrap();
        set(&mut update, "app.pusher.client_events", "true").unwrap();
        set(&mut update, "update_mask", "name,quota.history_bytes").unwrap();
        for path in ["app", "app.keys.name", "app.quota.connections.x", ".", "", "app."] {
            assert!(set(&mut update, path, "1").is_err(), "{path}");
        }
        assert!(set(&mut update, "app.pusher.watchlist", "yes").is_err());
        let update: wire::UpdateAppRequest = update.transcode_to().unwrap();
        let app = update.app.unwrap();
        assert_eq!(app.quota.unwrap().history_bytes, Some(12));
        assert_eq!(app.pusher.unwrap().client_events, Some(true));
        assert_eq!(update.update_mask.unwrap().paths, ["name", "quota.history_bytes"]);
        let mut replay = DynamicMessage::new(proto::json::descriptor::<wire::ReplayDeadLettersRequest>());
        set(&mut replay, "ids", "a").unwrap();
        set(&mut replay, "ids", "b").unwrap();
        assert_eq!(replay.transcode_to::<wire::ReplayDeadLettersRequest>().unwrap().ids, ["a", "b"]);
    }

    #[test]
    fn the_body_holds_what_the_path_does_not() {
        let patch = |body| bound(Method::PATCH, "/v1/apps/7", "", body);
        for body in [r#"{"app":{"name":"n"}}"#, r#"{"app":{"id":"7","name":"n"}}"#] {
            let update: wire::UpdateAppRequest = patch(body).unwrap().transcode_to().unwrap();
            assert_eq!(update.app, Some(wire::App { id: "7".to_owned(), name: "n".to_owned(), ..Default::default() }));
        }
        assert!(patch("").is_ok());
        let patch = |body| patch(body).unwrap_err().to_string();
        assert_eq!(patch(r#"{"app":{"id":"8"}}"#), "app.id: is another one in the path");
        assert_eq!(patch(r#"{"app":{"quota":{"colour":1}}}"#), "app.quota.colour: is no field of this request");
        assert!(patch(r#"{"app":{"quota":{"connections":-1}}}"#).starts_with("app.quota.connections: "));
        assert!(patch(r#"{"app":{"namespaces":[{},{"tier":"NONE"}]}}"#).starts_with("app.namespaces[1].tier: "));
        assert!(patch(r#"{"app":{"webhooks":[{"headers":{"a":1}}]}}"#).starts_with("app.webhooks[0].headers: "));
        assert!(patch(r#"{"app":7}"#).starts_with("app: "));
        assert!(patch("{").starts_with("body: is not JSON: "));
        assert_eq!(patch("[]"), "body: is not a JSON object");
        assert!(refused(Method::POST, "/v1/apps/7:disable", "", r#"{"id":"8"}"#).starts_with("id: "));
    }
}
