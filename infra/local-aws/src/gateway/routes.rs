//! Routes of an HTTP API: which key a request matches, by the order that API Gateway documents.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use http::Method;

use super::function::Function;

/// Why a route cannot be added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// The key is not `METHOD /path` and not `$default`.
    #[error("INVALID_ROUTE: \"{key}\": {problem}")]
    Invalid {
        /// The key as given.
        key: String,
        /// What to change.
        problem: &'static str,
    },
    /// A route that matches the same requests is there already.
    #[error("DUPLICATE_ROUTE: \"{0}\" matches the same requests as a route that was added before")]
    Duplicate(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(String),
    /// `{name}`: exactly one segment, not empty.
    Variable(String),
    /// `{name+}`: the rest of the path, at least one segment.
    Greedy(String),
}

impl Segment {
    /// The larger, the earlier in the order of matching.
    fn rank(&self) -> u8 {
        match self {
            Self::Literal(_) => 2,
            Self::Variable(_) => 1,
            Self::Greedy(_) => 0,
        }
    }

    /// Whether two segments match the same texts, whatever their variables are called.
    fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Literal(a), Self::Literal(b)) => a == b,
            _ => self.rank() == other.rank(),
        }
    }
}

#[derive(Clone, Debug)]
enum Pattern {
    Default,
    Path {
        /// `None`: `ANY`.
        method: Option<Method>,
        segments: Vec<Segment>,
    },
}

#[derive(Clone, Debug)]
struct Route {
    key: String,
    pattern: Pattern,
    function: Function,
}

/// The routes of one API.
#[derive(Clone, Debug, Default)]
pub(super) struct Routes {
    routes: Vec<Route>,
}

/// The route that a request takes.
#[derive(Clone, Debug)]
pub(super) struct Match<'a> {
    /// The route's key as it was added, the event's `routeKey`.
    pub(super) route_key: &'a str,
    /// The function behind the route.
    pub(super) function: &'a Function,
    /// What the path's variables stand for, decoded.
    pub(super) path_parameters: BTreeMap<String, String>,
}

impl Routes {
    /// Adds a route. `key`: `POST /hooks/{source}`, `ANY /api/{proxy+}` or `$default`.
    ///
    /// # Errors
    /// [`RouteError`].
    pub(super) fn add(&mut self, key: &str, function: Function) -> Result<(), RouteError> {
        let pattern = parse(key).map_err(|problem| RouteError::Invalid { key: key.to_owned(), problem })?;
        if self.routes.iter().any(|route| route.pattern.same(&pattern)) {
            return Err(RouteError::Duplicate(key.to_owned()));
        }
        self.routes.push(Route { key: key.to_owned(), pattern, function });
        Ok(())
    }

    /// The route for a request. `path` is decoded.
    ///
    /// The most specific route wins: a literal segment before a variable, a variable before a greedy one, then a method
    /// before `ANY`, then `$default` (API Gateway developer guide, "Create routes for HTTP APIs"). A path with a slash at
    /// its end is another path.
    #[must_use]
    pub(super) fn find(&self, method: &Method, path: &str) -> Option<Match<'_>> {
        self.routes
            .iter()
            .filter_map(|route| Some((route, route.pattern.matches(method, path)?)))
            .max_by(|(a, _), (b, _)| a.pattern.specificity(&b.pattern))
            .map(|(route, path_parameters)| Match { route_key: &route.key, function: &route.function, path_parameters })
    }
}

impl Pattern {
    fn matches(&self, method: &Method, path: &str) -> Option<BTreeMap<String, String>> {
        let mut parameters = BTreeMap::new();
        let Self::Path { method: wanted, segments } = self else { return Some(parameters) };
        if wanted.as_ref().is_some_and(|wanted| wanted != method) {
            return None;
        }
        let mut rest = Some(path.strip_prefix('/')?);
        for segment in segments {
            let here = rest?;
            if let Segment::Greedy(name) = segment {
                if here.is_empty() {
                    return None;
                }
                parameters.insert(name.clone(), here.to_owned());
                return Some(parameters);
            }
            let (text, after) = here.split_once('/').map_or((here, None), |(text, after)| (text, Some(after)));
            match segment {
                Segment::Variable(name) if !text.is_empty() => {
                    parameters.insert(name.clone(), text.to_owned());
                }
                Segment::Literal(literal) if literal == text => {}
                _ => return None,
            }
            rest = after;
        }
        rest.is_none().then_some(parameters)
    }

    fn specificity(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Default, Self::Default) => Ordering::Equal,
            (Self::Default, Self::Path { .. }) => Ordering::Less,
            (Self::Path { .. }, Self::Default) => Ordering::Greater,
            (Self::Path { method: a_method, segments: a }, Self::Path { method: b_method, segments: b }) => {
                let ranks = |segments: &[Segment]| segments.iter().map(Segment::rank).collect::<Vec<_>>();
                ranks(a).cmp(&ranks(b)).then(a_method.is_some().cmp(&b_method.is_some()))
            }
        }
    }

    fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Default, Self::Default) => true,
            (Self::Path { method: a_method, segments: a }, Self::Path { method: b_method, segments: b }) => {
                a_method == b_method && a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same(b))
            }
            _ => false,
        }
    }
}

fn parse(key: &str) -> Result<Pattern, &'static str> {
    if key == "$default" {
        return Ok(Pattern::Default);
    }
    let (method, path) = key.split_once(' ').ok_or("write it as \"METHOD /path\" or \"$default\"")?;
    let method = match method {
        "ANY" => None,
        "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS" => {
            Some(Method::from_bytes(method.as_bytes()).map_err(|_| "the method is not one")?)
        }
        _ => return Err("the method is ANY, GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS"),
    };
    let rest = path.strip_prefix('/').ok_or("the path begins with \"/\"")?;
    let mut segments = Vec::new();
    for text in rest.split('/') {
        if matches!(segments.last(), Some(Segment::Greedy(_))) {
            return Err("a greedy variable {name+} is the last segment");
        }
        let segment = match text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
            None if text.contains(['{', '}']) => return Err("a variable is a whole segment, {name}"),
            None => Segment::Literal(text.to_owned()),
            Some(inner) => {
                let (name, greedy) = inner.strip_suffix('+').map_or((inner, false), |name| (name, true));
                if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c)) {
                    return Err("a variable's name has letters, digits, \"_\", \"-\" and \".\" only");
                }
                if greedy { Segment::Greedy(name.to_owned()) } else { Segment::Variable(name.to_owned()) }
            }
        };
        segments.push(segment);
    }
    Ok(Pattern::Path { method, segments })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    fn routes(keys: &[&str]) -> Routes {
        let mut routes = Routes::default();
        for key in keys {
            routes.add(key, nothing()).unwrap();
        }
        routes
    }

    fn nothing() -> Function {
        Function::new(Arc::new(|_| Box::pin(async { Ok(Vec::new()) })), Duration::from_secs(1))
    }

    #[test]
    fn a_request_takes_the_most_specific_route() {
        let routes = routes(&[
            "$default",
            "ANY /{proxy+}",
            "GET /{proxy+}",
            "ANY /hooks/{source}",
            "POST /hooks/{source}",
            "POST /hooks/status",
            "GET /",
        ]);
        let cases = [
            ("POST", "/hooks/stripe", "POST /hooks/{source}", vec![("source", "stripe")]),
            ("POST", "/hooks/a b%?é", "POST /hooks/{source}", vec![("source", "a b%?é")]),
            ("POST", "/hooks/status", "POST /hooks/status", vec![]),
            ("GET", "/hooks/status", "ANY /hooks/{source}", vec![("source", "status")]),
            ("PUT", "/hooks/stripe", "ANY /hooks/{source}", vec![("source", "stripe")]),
            ("POST", "/hooks/stripe/", "ANY /{proxy+}", vec![("proxy", "hooks/stripe/")]),
            ("POST", "/hooks/", "ANY /{proxy+}", vec![("proxy", "hooks/")]),
            ("POST", "/hooks//", "ANY /{proxy+}", vec![("proxy", "hooks//")]),
            ("GET", "/x/y", "GET /{proxy+}", vec![("proxy", "x/y")]),
            ("GET", "/", "GET /", vec![]),
            ("POST", "/", "$default", vec![]),
            ("OPTIONS", "*", "$default", vec![]),
            ("CONNECT", "", "$default", vec![]),
        ];
        for (method, path, key, parameters) in cases {
            let found = routes.find(&method.parse().unwrap(), path).unwrap();
            let parameters: BTreeMap<_, _> = parameters.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
            assert_eq!((found.route_key, &found.path_parameters), (key, &parameters), "{method} {path}");
        }
    }

    #[test]
    fn a_request_that_no_route_matches_takes_none() {
        let routes = routes(&["POST /hooks/{source}"]);
        for (method, path) in [
            ("GET", "/hooks/stripe"),
            ("POST", "/hooks"),
            ("POST", "/hooks/"),
            ("POST", "/hooks/stripe/"),
            ("POST", "/hooks/stripe/more"),
            ("POST", "//hooks/stripe"),
            ("POST", "/Hooks/stripe"),
            ("POST", "hooks/stripe"),
            ("POST", "/"),
            ("POST", ""),
        ] {
            assert!(routes.find(&method.parse().unwrap(), path).is_none(), "{method} {path}");
        }
    }

    #[test]
    fn a_key_that_is_not_one_is_refused() {
        for key in
            ["", "POST", "/hooks", "post /hooks", "POST hooks", "POST /{a+}/b", "POST /a{b}", "POST /{}", "POST /{a b}"]
        {
            let refused = Routes::default().add(key, nothing());
            assert!(matches!(refused, Err(RouteError::Invalid { .. })), "{key}: {refused:?}");
        }
    }

    #[test]
    fn two_routes_for_the_same_requests_are_refused() {
        let mut routes = routes(&["POST /hooks/{source}", "$default"]);
        assert_eq!(
            routes.add("POST /hooks/{name}", nothing()),
            Err(RouteError::Duplicate("POST /hooks/{name}".to_owned()))
        );
        assert_eq!(routes.add("$default", nothing()), Err(RouteError::Duplicate("$default".to_owned())));
        assert_eq!(routes.add("GET /hooks/{name}", nothing()), Ok(()));
    }
}
