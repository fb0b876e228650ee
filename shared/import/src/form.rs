//! What bridge.toml can say, in the one place where that is decided: [`NOW`].
//!
//! A GraphQL operation, a key in the query and Basic authentication have keys of their own in bridge.toml, or are written with what every
//! tool has. Which of the two is made is a matter of these flags and nothing else.

use crate::toml;
use crate::tree::Node;

/// The keys that a tool's declaration can have, beside those that it always had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Form {
    /// `graphql = "…"`: the bridge makes the body and knows errors in a 200.
    pub(crate) graphql: bool,
    /// `auth.query = "api_key"`.
    pub(crate) auth_query: bool,
    /// `auth.basic = true`: the secret is `user:password`.
    pub(crate) auth_basic: bool,
}

/// What bridge.toml can say today.
pub(crate) const NOW: Form = Form { graphql: true, auth_query: true, auth_basic: true };

/// A credential: where it is kept and how it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Auth {
    pub(crate) secret: String,
    pub(crate) carrier: Carrier,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Carrier {
    Bearer,
    Basic,
    Header(String),
    Query(String),
}

impl Form {
    /// Whether a credential can be sent so.
    pub(crate) fn can_send(self, carrier: &Carrier) -> bool {
        self.auth_query || !matches!(carrier, Carrier::Query(_))
    }

    /// The value of `auth`.
    pub(crate) fn auth(self, auth: &Auth) -> Node {
        let secret = ("secret", Node::text(&auth.secret));
        match &auth.carrier {
            Carrier::Bearer => Node::object([secret]),
            Carrier::Basic if self.auth_basic => Node::object([secret, ("basic", Node::Bool(true))]),
            Carrier::Basic => Node::object([secret, ("prefix", Node::text("Basic "))]),
            Carrier::Header(name) if name.eq_ignore_ascii_case("authorization") => {
                Node::object([secret, ("prefix", Node::text(""))])
            }
            Carrier::Header(name) => Node::object([secret, ("header", Node::text(name))]),
            Carrier::Query(name) => Node::object([secret, ("query", Node::text(name))]),
        }
    }

    /// What a person has to put into the secret.
    pub(crate) fn secret_holds(self, carrier: &Carrier) -> String {
        match carrier {
            Carrier::Bearer => "the token, sent as Authorization: Bearer".to_owned(),
            Carrier::Basic if self.auth_basic => "user:password, sent as Authorization: Basic".to_owned(),
            Carrier::Basic => "user:password in Base64, sent as Authorization: Basic".to_owned(),
            Carrier::Header(name) => format!("the key, sent as {name}"),
            Carrier::Query(name) => format!("the key, sent as the query parameter {name}"),
        }
    }

    /// The lines of a GraphQL tool that say what is sent where. The input is the variables, if there are any.
    pub(crate) fn graphql(self, url: &str, document: &str, has_variables: bool) -> String {
        if self.graphql {
            let variables = if has_variables { "" } else { "variables = '{}'\n" };
            return format!("url = {}\ngraphql = {}\n{variables}", toml::text(url), toml::code(document));
        }
        // Names of GraphQL have no quotes and no backslashes, and the document has nothing but names.
        let indented: Vec<String> = document.lines().map(|line| format!("  {line}")).collect();
        let variables = if has_variables { ",\n  variables: ." } else { "" };
        let body = format!("{{\n  query: \"\n{}\n  \"{variables}\n}}", indented.join("\n"));
        format!("method = \"POST\"\nurl = {}\nbody = {}\n", toml::text(url), toml::code(&body))
    }

    /// The output of a GraphQL tool: without a key of their own, errors in a 200 make it unusable here.
    pub(crate) fn graphql_output(self) -> Option<Node> {
        if self.graphql {
            return None;
        }
        Some(Node::object([
            ("type", Node::text("object")),
            ("required", Node::List(vec![Node::text("data")])),
            ("properties", Node::object([("errors", Node::Bool(false))])),
        ]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Form = Form { graphql: true, auth_query: true, auth_basic: true };
    const NONE: Form = Form { graphql: false, auth_query: false, auth_basic: false };

    #[test]
    fn a_credential_is_declared_as_bridge_toml_can_say_it() {
        let query = Carrier::Query("api_key".into());
        for (form, carrier, expected) in [
            (NONE, Carrier::Bearer, r#"{ secret = "s" }"#),
            (NONE, Carrier::Basic, r#"{ secret = "s", prefix = "Basic " }"#),
            (ALL, Carrier::Basic, r#"{ secret = "s", basic = true }"#),
            (ALL, Carrier::Header("X-Key".into()), r#"{ secret = "s", header = "X-Key" }"#),
            (NONE, Carrier::Header("authorization".into()), r#"{ secret = "s", prefix = "" }"#),
            (ALL, query.clone(), r#"{ secret = "s", query = "api_key" }"#),
        ] {
            let auth = Auth { secret: "s".into(), carrier };
            assert!(form.can_send(&auth.carrier));
            assert_eq!(toml::inline(&form.auth(&auth)), expected);
        }
        assert!(!NONE.can_send(&query));
    }

    #[test]
    fn a_graphql_operation_is_declared_as_bridge_toml_can_say_it() {
        let document = "query a {\n  b\n}";
        let own = "url = \"https://a.example/\"\ngraphql = '''\nquery a {\n  b\n}\n'''\n";
        assert_eq!(ALL.graphql("https://a.example/", document, true), own);
        assert_eq!(ALL.graphql("https://a.example/", document, false), format!("{own}variables = '{{}}'\n"));
        let start = "method = \"POST\"\nurl = \"https://a.example/\"\nbody = '''\n{\n  query: \"\n  query a {\n    b\n  }\n  \"";
        assert_eq!(NONE.graphql("https://a.example/", document, true), format!("{start},\n  variables: .\n}}\n'''\n"));
        assert_eq!(NONE.graphql("https://a.example/", document, false), format!("{start}\n}}\n'''\n"));
        assert!(ALL.graphql_output().is_none() && NONE.graphql_output().is_some());
    }
}
