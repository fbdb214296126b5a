//! Which method answers which request, by the `google.api.http` annotations.

use percent_encoding::percent_decode_str;
use proto::json::prost_reflect::{DescriptorPool, MethodDescriptor};
use tonic::codegen::http::Method;
use tonic::codegen::http::uri::PathAndQuery;

/// Every method that has an annotation.
#[derive(Debug)]
pub(super) struct Routes(Vec<Route>);

/// A method, and the requests that it answers.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) verb: Method,
    pub(super) segments: Vec<Segment>,
    /// What stands behind a colon at the end of the path.
    pub(super) action: Option<String>,
    /// Whether the message is in the body; else what is not in the path is in the query.
    pub(super) has_body: bool,
    pub(super) method: MethodDescriptor,
    /// Where gRPC calls it.
    pub(super) path: PathAndQuery,
}

/// What stands between two slashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    Literal(String),
    /// The field of the request that it goes into, as in `app.id`.
    Variable(String),
}

/// The route of a request.
#[derive(Debug)]
pub(super) struct Found<'r> {
    pub(super) route: &'r Route,
    /// Fields of the request, and their values in its path.
    pub(super) variables: Vec<(&'r str, String)>,
}

/// Why there is no route.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoRoute {
    /// Nothing is at this path.
    Path,
    /// These verbs there are.
    Verb(Vec<Method>),
}

impl Routes {
    /// Reads the annotations of all services in `pool`.
    pub(super) fn new(pool: &DescriptorPool) -> Self {
        let methods = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>());
        Self(methods.filter_map(|method| Route::of(pool, method)).collect())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Route> {
        self.0.iter()
    }

    pub(super) fn find(&self, verb: &Method, path: &str) -> Result<Found<'_>, NoRoute> {
        let here = self.0.iter().filter_map(|route| Some(Found { route, variables: route.matches(path)? }));
        let (wanted, others): (Vec<_>, Vec<_>) = here.partition(|found| found.route.verb == *verb);
        match wanted.into_iter().next() {
            Some(found) => Ok(found),
            None if others.is_empty() => Err(NoRoute::Path),
            None => Err(NoRoute::Verb(others.iter().map(|found| found.route.verb.clone()).collect())),
        }
    }
}

impl Route {
    fn of(pool: &DescriptorPool, method: MethodDescriptor) -> Option<Self> {
        let http = pool.get_extension_by_name("google.api.http")?;
        let options = method.options();
        let rule = options.has_extension(&http).then(|| options.get_extension(&http))?;
        let rule = rule.as_message()?;
        let text = |field: &str| {
            let value = rule.has_field_by_name(field).then(|| rule.get_field_by_name(field)).flatten()?;
            value.as_str().map(str::to_owned)
        };
        let verbs = [Method::GET, Method::PUT, Method::POST, Method::DELETE, Method::PATCH];
        let (verb, template) =
            verbs.into_iter().find_map(|verb| Some((verb.clone(), text(&verb.as_str().to_lowercase())?)))?;
        let (segments, action) = split(&template);
        let segment = |segment: &str| match segment.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')) {
            Some(field) => Segment::Variable(field.to_owned()),
            None => Segment::Literal(segment.to_owned()),
        };
        let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
        Some(Self {
            verb,
            segments: segments.into_iter().map(segment).collect(),
            action: action.map(str::to_owned),
            has_body: text("body").is_some_and(|body| !body.is_empty()),
            path: path.try_into().ok()?,
            method,
        })
    }

    /// The values of the variables, if `path` is one of this route.
    fn matches(&self, path: &str) -> Option<Vec<(&str, String)>> {
        let (segments, action) = split(path);
        if action != self.action.as_deref() || segments.len() != self.segments.len() {
            return None;
        }
        let mut variables = Vec::new();
        for (expected, given) in self.segments.iter().zip(segments) {
            let given = percent_decode_str(given).decode_utf8().ok()?;
            match expected {
                Segment::Literal(literal) if *literal == given => {}
                Segment::Variable(field) if !given.is_empty() => variables.push((field.as_str(), given.into_owned())),
                Segment::Literal(_) | Segment::Variable(_) => return None,
            }
        }
        Some(variables)
    }
}

/// What stands between the slashes, and what stands behind the last colon of the last. A colon in a name is `%3A`.
fn split(path: &str) -> (Vec<&str>, Option<&str>) {
    let mut segments: Vec<&str> = path.strip_prefix('/').unwrap_or(path).split('/').collect();
    let last = segments.pop().unwrap_or_default();
    let (last, action) = last.rsplit_once(':').map_or((last, None), |(last, action)| (last, Some(action)));
    segments.push(last);
    (segments, action)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes() -> Routes {
        Routes::new(proto::json::descriptors())
    }

    /// The name of the method, or the verbs that there are; and the variables.
    fn found(verb: Method, path: &str) -> String {
        match routes().find(&verb, path) {
            Ok(found) => {
                let variables: Vec<_> =
                    found.variables.iter().map(|(field, value)| format!(" {field}={value}")).collect();
                format!("{}{}", found.route.method.name(), variables.concat())
            }
            Err(NoRoute::Path) => "nothing".to_owned(),
            Err(NoRoute::Verb(verbs)) => format!("{verbs:?}"),
        }
    }

    #[test]
    fn requests_find_their_methods() {
        for (verb, path, expected) in [
            (Method::GET, "/v1/apps", "ListApps"),
            (Method::GET, "/v1/apps/1", "GetApp id=1"),
            (Method::PATCH, "/v1/apps/1", "UpdateApp app.id=1"),
            (Method::POST, "/v1/apps/1:disable", "DisableApp id=1"),
            (Method::POST, "/v1/apps/1/keys/a.b:rotate", "RotateKey app_id=1 name=a.b"),
            (Method::POST, "/v1/apps/1/keys/a%3Ab%2Fc%20d:rotate", "RotateKey app_id=1 name=a:b/c d"),
            (Method::GET, "/v1/apps/1/channels:get", "GetChannel app_id=1"),
            (Method::POST, "/v1/registry:reseal", "Reseal"),
            (Method::GET, "/v1/apps/1:disable", "[POST]"),
            (Method::PUT, "/v1/apps/1", "[GET, PATCH, DELETE]"),
            (Method::GET, "/v1/apps/1:other", "nothing"),
            (Method::GET, "/v1/apps/", "nothing"),
            (Method::GET, "/v1/apps/1/", "nothing"),
            (Method::GET, "/v1//1", "nothing"),
            (Method::GET, "/v1/apps/%ff", "nothing"),
            (Method::GET, "/", "nothing"),
            (Method::GET, "*", "nothing"),
        ] {
            assert_eq!(found(verb, path), expected, "{path}");
        }
    }

    /// Of the annotations only what is used is read; this says when that changes.
    #[test]
    fn every_annotation_is_understood() {
        let pool = proto::json::descriptors();
        let http = pool.get_extension_by_name("google.api.http").unwrap();
        let routes = routes();
        let methods: Vec<_> = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()).collect();
        for method in methods {
            let Some(route) = routes.iter().find(|route| route.method == method) else {
                assert!(method.is_client_streaming(), "{} is not on the gateway", method.full_name());
                continue;
            };
            let options = method.options();
            let rule = options.get_extension(&http);
            let fields: Vec<_> =
                rule.as_message().unwrap().fields().map(|(field, _)| field.name().to_owned()).collect();
            assert_eq!(fields.len(), if route.has_body { 2 } else { 1 }, "{fields:?}");
            let body = rule.as_message().unwrap().get_field_by_name("body").unwrap();
            assert!(["", "*"].contains(&body.as_str().unwrap()), "{}", method.full_name());
        }
    }

    #[test]
    fn no_two_routes_are_one() {
        let shape = |route: &Route| {
            let segments = route.segments.iter().map(|segment| match segment {
                Segment::Literal(literal) => literal.clone(),
                Segment::Variable(_) => "{}".to_owned(),
            });
            (route.verb.clone(), segments.collect::<Vec<_>>(), route.action.clone())
        };
        let routes = routes();
        let shapes: std::collections::HashSet<_> = routes.iter().map(shape).collect();
        assert_eq!(shapes.len(), routes.iter().count());
    }
}
