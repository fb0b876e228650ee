//! What a call would send, for a person to look at: the request as it is made, with what it must not tell masked.

use crate::call::{Deployment, check_input, paged};
use crate::credentials::Credentials;
use crate::pages::Walk;
use crate::request::{Prepared, Sender, host, invalid};
use clawbridge_clock::Timestamp;
use clawbridge_config::{Compiled, CompiledTool, ConnectionTemplate, Credential};
use clawbridge_outbound::{Clients, USER_AGENT};
use clawbridge_tasks::TaskError;
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;

/// A request that is not sent. Credentials and signatures are masked: it is made with others in their place, so that no secret is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The method.
    pub method: String,
    /// The address.
    pub url: String,
    /// The headers, in the order of their names.
    pub headers: Vec<(String, String)>,
    /// The body, if it has one.
    pub body: Option<String>,
    /// The secrets that the real request is made with, as bridge.toml names them.
    pub secrets: Vec<String>,
    /// The connection whose token it carries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<String>,
}

impl Plan {
    /// What a call of `tool`, one of `config`, with `input` for `sender` would send first, at `now`. Reads no secret and sends nothing.
    ///
    /// # Errors
    /// As far as they can be known without: what of the input does not fit, or an address that may not be called.
    pub fn new(
        config: &Arc<Compiled>,
        deployment: &Deployment,
        tool: &CompiledTool,
        input: &Value,
        sender: &Sender<'_>,
        now: Timestamp,
    ) -> Result<Plan, TaskError> {
        check_input(tool, input)?;
        let clients = Clients::new(config.clone());
        let mut prepared = Prepared::new(&clients, &deployment.bridge_url, tool, input, sender)?;
        if let Some((declared, programs)) = paged(tool) {
            let walk = Walk::new(declared, programs, tool.tool().graphql.is_some());
            prepared = walk.request(&prepared, &walk.first()).map_err(invalid)?;
        }
        let credentials = Credentials::stand_ins(tool);
        let complete = prepared.with(tool, &credentials, None, now)?;
        let mut redaction = credentials.redaction(tool);
        redaction.add(complete.signature.as_deref().unwrap_or_default());
        let mut headers: Vec<(String, String)> = complete
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), redaction.text(&String::from_utf8_lossy(value.as_bytes()))))
            .collect();
        headers.push(("host".to_owned(), host(&complete.url)));
        headers.push(("user-agent".to_owned(), USER_AGENT.to_owned()));
        headers.extend(complete.body.as_ref().map(|body| ("content-length".to_owned(), body.len().to_string())));
        headers.sort();
        let (compiled, tool) = (tool, tool.tool());
        let tls = tool.tls.as_ref();
        let (secret, connection) = match tool.auth.as_ref().map(|auth| &auth.credential) {
            Some(Credential::Secret(name)) => (Some(name), None),
            Some(Credential::Connection(_)) => (None, compiled.connection()),
            None => (None, None),
        };
        let account = |template: &ConnectionTemplate| {
            let account = template.account(input).map_err(|error| invalid(format!("auth.connection: {error}")))?;
            Ok::<_, TaskError>(format!("{}/{account}", template.provider()))
        };
        let names = [
            secret,
            tool.sign.as_ref().map(|sign| &sign.secret),
            tls.and_then(|tls| tls.secret.as_ref()),
            tls.and_then(|tls| tls.ca.as_ref()),
        ];
        Ok(Plan {
            method: complete.method.to_string(),
            url: redaction.text(complete.url.as_str()),
            headers,
            body: complete.body.map(|body| String::from_utf8_lossy(&body).into_owned()),
            secrets: names.into_iter().flatten().cloned().collect(),
            connection: connection.map(account).transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clawbridge_config::check;
    use clawbridge_tasks::Code;
    use clawbridge_trace::TraceContext;
    use serde_json::json;

    const NOW: Timestamp = Timestamp::from_millis(1_763_696_400_000);

    fn plan(tool: &str, input: &Value) -> Result<Plan, TaskError> {
        let deployment = Deployment { bridge_url: "".into(), secret_prefix: "clawbridge".into(), upstreams: None };
        let config = config(tool);
        Plan::new(&config, &deployment, config.tool("t").expect("a tool"), input, &sender(), NOW)
    }

    fn config(tool: &str) -> Arc<Compiled> {
        let text = format!("[tools.t]\nurl = \"https://a.example/v1/{{id}}?x=1\"\n{tool}\n");
        let (config, diagnostics) = check(&text);
        Arc::new(config.unwrap_or_else(|| panic!("{diagnostics:?}")).compile().expect("a configuration"))
    }

    fn sender() -> Sender<'static> {
        Sender { task: "task_1", step: Some(TraceContext::begin(1).attempt("task_1", 1)), callback: None }
    }

    fn header<'a>(plan: &'a Plan, name: &str) -> &'a str {
        plan.headers.iter().find(|(header, _)| header == name).map_or("", |(_, value)| value)
    }

    #[test]
    fn a_request_is_shown_as_it_would_be_sent() {
        let tool =
            "method = \"POST\"\nheaders = { X-Api-Version = \"2026-01-01\" }\nidempotency_header = \"Idempotency-Key\"";
        let plan = plan(tool, &json!({"id": "a/b", "n": 1})).expect("a plan");
        assert_eq!((plan.method.as_str(), plan.url.as_str()), ("POST", "https://a.example/v1/a%2Fb?x=1"));
        assert_eq!(plan.body.as_deref(), Some("{\"id\":\"a/b\",\"n\":1}"));
        let expected = [
            ("accept", "application/json"),
            ("accept-encoding", "identity"),
            ("content-length", "18"),
            ("content-type", "application/json"),
            ("host", "a.example"),
            ("idempotency-key", "task_1"),
            ("traceparent", "00-00000000000000000000000000000001-SPAN-01"),
            ("user-agent", USER_AGENT),
            ("x-api-version", "2026-01-01"),
        ];
        let span = TraceContext::begin(1).attempt("task_1", 1).span_id().expect("a step").to_string();
        let expected = expected.map(|(name, value)| (name, value.replace("SPAN", &span)));
        assert_eq!(plan.headers, expected.map(|(name, value)| (name.to_owned(), value)));
        assert!(plan.secrets.is_empty());
    }

    #[test]
    fn a_body_is_a_form_where_the_tool_says_so() {
        let tool = "method = \"POST\"\neffect = \"unsafe\"\nheaders = { content-type = \"application/x-www-form-urlencoded\" }";
        let form = plan(tool, &json!({"id": "a", "items": [{"price": "p"}]})).expect("a plan");
        assert_eq!(form.body.as_deref(), Some("id=a&items%5B0%5D%5Bprice%5D=p"));
        let list = plan(&format!("{tool}\nbody = '[.id]'"), &json!({"id": "a"}));
        assert!(list.expect_err("no form").message.contains("object"));
    }

    #[test]
    fn a_request_says_its_trace_unless_the_tool_does_or_does_not_want_it() {
        let said = |more: &str| {
            let plan = plan(&format!("method = \"GET\"\n{more}"), &json!({"id": 1})).expect("a plan");
            let values = plan.headers.into_iter().filter(|(name, _)| name == "traceparent");
            values.map(|(_, value)| value).collect::<Vec<String>>()
        };
        let ours = TraceContext::begin(1).attempt("task_1", 1).to_string();
        assert_eq!(said(""), std::slice::from_ref(&ours));
        assert_eq!(said("trace = true"), [ours]);
        assert_eq!(said("trace = false"), [""; 0]);
        assert_eq!(said("headers = { TraceParent = \"mine\" }"), ["mine"]);
        assert_eq!(said("headers = { traceparent = \"{theirs?}\" }"), [""; 0]);
        assert_eq!(said("trace = false\nheaders = { traceparent = \"mine\" }"), ["mine"]);
        assert_eq!(said("auth = { secret = \"clawbridge/tools/a\", header = \"traceparent\" }"), ["[redacted]"]);
    }

    #[test]
    fn what_is_signed_is_the_same_with_and_without_a_trace() {
        let over = "scheme = \"standard-webhooks\", secret = \"clawbridge/tools/a\"";
        for sign in
            [over, "secret = \"clawbridge/tools/a\", header = \"X-S\", over = \"{method}{path}{query}{host}{body}\""]
        {
            let signatures = [true, false].map(|trace| {
                let config = config(&format!("method = \"POST\"\nsign = {{ {sign} }}\ntrace = {trace}"));
                let tool = config.tool("t").expect("a tool");
                let prepared = Prepared::new(&Clients::new(config.clone()), "", tool, &json!({"id": 1}), &sender());
                let complete = prepared
                    .expect("a request")
                    .with(tool, &Credentials::stand_ins(tool), None, NOW)
                    .expect("a signature");
                assert_eq!(complete.headers.contains_key("traceparent"), trace);
                complete.signature.expect("a signature")
            });
            assert_eq!(signatures[0], signatures[1], "{sign}");
        }
    }

    #[test]
    fn no_credential_and_no_signature_is_shown() {
        let secret = "secret = \"clawbridge/tools/a\"";
        let auth = |more: &str| {
            plan(&format!("method = \"GET\"\nauth = {{ {secret}{more} }}"), &json!({"id": 1})).expect("a plan")
        };
        assert_eq!(header(&auth(""), "authorization"), "Bearer [redacted]");
        assert_eq!(header(&auth(", header = \"X-Key\""), "x-key"), "[redacted]");
        assert_eq!(auth(", query = \"api_key\"").url, "https://a.example/v1/1?x=1&api_key=[redacted]");
        assert_eq!(header(&auth(", basic = true"), "authorization"), "Basic [redacted]");
        assert_eq!(header(&auth(", basic = true, user = \"me\""), "authorization"), "Basic [redacted]");
        assert_eq!(auth("").secrets, ["clawbridge/tools/a"]);

        let sign = |more: &str| {
            plan(&format!("method = \"POST\"\nsign = {{ {secret}, {more} }}"), &json!({"id": 1})).expect("a plan")
        };
        let webhooks = sign("scheme = \"standard-webhooks\"");
        assert_eq!(header(&webhooks, "webhook-signature"), "v1,[redacted]");
        assert_eq!((header(&webhooks, "webhook-id"), header(&webhooks, "webhook-timestamp")), ("task_1", "1763696400"));
        for encoding in ["utf8", "hex", "base64", "whsec"] {
            let signed =
                sign(&format!("header = \"X-S\", prefix = \"t={{timestamp}},v1=\", secret_encoding = \"{encoding}\""));
            assert_eq!(header(&signed, "x-s"), "t=1763696400,v1=[redacted]", "{encoding}");
        }
    }

    #[test]
    fn what_could_not_be_sent_is_not_shown() {
        for (tool, input, code) in [
            ("method = \"GET\"", json!({}), Code::ValidationError),
            ("method = \"GET\"\ninput = { required = [\"n\"] }", json!({"id": 1}), Code::ValidationError),
            ("graphql = '{ a }'\nvariables = '.x | error'", json!({"id": 1}), Code::ValidationError),
        ] {
            assert_eq!(plan(tool, &input).expect_err(tool).code, code, "{tool}");
        }
    }

    #[test]
    fn the_first_page_is_shown() {
        let pages = "method = \"GET\"\npages = { kind = \"page\", param = \"page\", start = 0 }";
        assert_eq!(plan(pages, &json!({"id": 1})).expect("a plan").url, "https://a.example/v1/1?x=1&page=0");
        let graphql =
            "graphql = 'query($n: Int) { a(n: $n) { b } }'\npages = { kind = \"offset\", field = \"n\", start = 5 }";
        let body = plan(graphql, &json!({"id": 1})).expect("a plan").body.expect("a body");
        assert_eq!(serde_json::from_str::<Value>(&body).expect("JSON")["variables"], json!({"n": 5}));
    }
}
