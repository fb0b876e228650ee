//! What a call would send, for a person to look at: the request as it is made, with what it must not tell masked.

use crate::client::USER_AGENT;
use crate::credentials::Credentials;
use crate::request::{Prepared, host};
use clawbridge_clock::Timestamp;
use clawbridge_config::CompiledTool;
use clawbridge_tasks::TaskError;
use serde::Serialize;

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
}

impl Plan {
    /// The plan of a request at `now`.
    pub(crate) fn new(prepared: &Prepared, tool: &CompiledTool, now: Timestamp) -> Result<Plan, TaskError> {
        let credentials = Credentials::stand_ins(tool);
        let complete = prepared.with(tool, &credentials, now)?;
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
        let tool = tool.tool();
        let tls = tool.tls.as_ref();
        let names = [
            tool.auth.as_ref().map(|auth| &auth.secret),
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
        })
    }
}
