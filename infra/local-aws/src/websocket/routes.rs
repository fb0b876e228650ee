//! Which function a message goes to.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::gateway::Function;

/// The route of a client that connects.
pub(super) const CONNECT: &str = "$connect";
/// The route of a connection that has ended.
pub(super) const DISCONNECT: &str = "$disconnect";
/// The route of the messages that no other route takes.
pub(super) const DEFAULT: &str = "$default";

/// Why a route cannot be added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// The key is empty, or it begins with `$` and is none of the three that API Gateway has.
    #[error(
        "INVALID_ROUTE: \"{0}\" is no route key: use $connect, $disconnect, $default, or a value that messages have"
    )]
    Invalid(String),
    /// There is a route of that key.
    #[error("DUPLICATE_ROUTE: \"{0}\" was added before")]
    Duplicate(String),
    /// The expression does not select a member of the message.
    #[error("INVALID_SELECTION: \"{0}\" is not of the form $request.body.member")]
    Selection(String),
}

/// The functions by their route keys, and how a message chooses one.
#[derive(Clone, Debug, Default)]
pub(super) struct Routes {
    functions: BTreeMap<String, Function>,
    /// The path to the member that holds the route key.
    selection: Vec<String>,
}

impl Routes {
    pub(super) fn add(&mut self, key: &str, function: Function) -> Result<(), RouteError> {
        if key.is_empty() || (key.starts_with('$') && ![CONNECT, DISCONNECT, DEFAULT].contains(&key)) {
            return Err(RouteError::Invalid(key.to_owned()));
        }
        if self.functions.contains_key(key) {
            return Err(RouteError::Duplicate(key.to_owned()));
        }
        self.functions.insert(key.to_owned(), function);
        Ok(())
    }

    /// Takes `$request.body.a.b` or `${request.body.a.b}`.
    pub(super) fn select_by(&mut self, expression: &str) -> Result<(), RouteError> {
        let inner = expression.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
        let path = inner.or_else(|| expression.strip_prefix('$')).and_then(|path| path.strip_prefix("request.body."));
        let path: Vec<_> = path.unwrap_or_default().split('.').map(ToOwned::to_owned).collect();
        if path.iter().any(String::is_empty) {
            return Err(RouteError::Selection(expression.to_owned()));
        }
        self.selection = path;
        Ok(())
    }

    pub(super) fn get(&self, key: &str) -> Option<&Function> {
        self.functions.get(key)
    }

    /// The route of a message: the one that it names, else `$default` (developer guide, "Route selection expressions").
    pub(super) fn of_message(&self, body: &str) -> Option<(&str, &Function)> {
        let named = (!self.selection.is_empty()).then(|| self.named(body)).flatten();
        let named = named.filter(|key| !key.starts_with('$'));
        let found = named.and_then(|key| self.functions.get_key_value(&key));
        found.or_else(|| self.functions.get_key_value(DEFAULT)).map(|(key, function)| (key.as_str(), function))
    }

    fn named(&self, body: &str) -> Option<String> {
        let body: Value = serde_json::from_str(body).ok()?;
        let value = self.selection.iter().try_fold(&body, |value, name| value.get(name))?;
        match value {
            Value::String(key) => Some(key.clone()),
            Value::Number(key) => Some(key.to_string()),
            Value::Bool(key) => Some(key.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    fn function() -> Function {
        Function::new(Arc::new(|_| Box::pin(async { Ok(Vec::new()) })), Duration::from_secs(1))
    }

    #[test]
    fn a_message_chooses_its_route_and_falls_back_to_the_default() {
        let mut routes = Routes::default();
        for key in [CONNECT, DISCONNECT, DEFAULT, "response.create", "7"] {
            routes.add(key, function()).unwrap();
        }
        let route = |routes: &Routes, body: &str| routes.of_message(body).map(|(key, _)| key.to_owned());
        assert_eq!(route(&routes, r#"{"type":"response.create"}"#).as_deref(), Some(DEFAULT));
        for expression in ["$request.body.type", "${request.body.type}"] {
            routes.select_by(expression).unwrap();
            let cases = [
                (r#"{"type":"response.create"}"#, "response.create"),
                (r#"{"type":7}"#, "7"),
                (r#"{"type":"other"}"#, DEFAULT),
                (r#"{"type":"$connect"}"#, DEFAULT),
                (r#"{"type":["response.create"]}"#, DEFAULT),
                (r#"{"kind":"response.create"}"#, DEFAULT),
                ("response.create", DEFAULT),
                ("", DEFAULT),
            ];
            for (body, key) in cases {
                assert_eq!(route(&routes, body).as_deref(), Some(key), "{body}");
            }
        }
        routes.select_by("$request.body.a.b").unwrap();
        assert_eq!(route(&routes, r#"{"a":{"b":"7"}}"#).as_deref(), Some("7"));
        assert_eq!(route(&Routes::default(), "{}"), None);
    }

    #[test]
    fn keys_and_expressions_that_mean_nothing_are_refused() {
        let mut routes = Routes::default();
        for key in ["", "$other", "$"] {
            assert_eq!(routes.add(key, function()), Err(RouteError::Invalid(key.to_owned())));
        }
        routes.add("a", function()).unwrap();
        assert_eq!(routes.add("a", function()), Err(RouteError::Duplicate("a".to_owned())));
        for expression in [
            "",
            "$",
            "type",
            "$request.body",
            "$request.body.",
            "$request.body.a..b",
            "$request.header.a",
            "${request.body.a",
        ] {
            assert_eq!(routes.select_by(expression), Err(RouteError::Selection(expression.to_owned())));
        }
    }
}
