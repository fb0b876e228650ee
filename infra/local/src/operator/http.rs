//! The stack's HTTP API, for the commands that use it as any program does: an address and a token.

use super::reach::{cause, http_client, local};
use crate::cli::{ApiArgs, Global};
use crate::failure::Failure;
use reqwest::Method;
use serde_json::Value;

/// The API of a stack.
pub(crate) struct Http {
    client: reqwest::Client,
    base: String,
    token: String,
}

impl Http {
    /// The one that the command line means: of `clawbridge dev` with the token that it keeps, or of a deployed stack.
    pub(crate) async fn reach(global: &Global, args: &ApiArgs) -> Result<Http, Failure> {
        let (known_at, kept) = match (&args.api, &global.stack) {
            (Some(_), _) | (None, Some(_)) => (None, None),
            (None, None) => {
                let stack = local(global).await?;
                (stack.public_url, stack.token_file.and_then(|path| std::fs::read_to_string(path).ok()))
            }
        };
        let base = args.api.clone().or(known_at).ok_or_else(|| {
            Failure::usage(
                "API_UNKNOWN",
                "where the API of a deployed stack is, its output WebhookUrl says; give it with --api",
            )
        })?;
        let token = args.token.clone().or(kept).ok_or_else(|| {
            Failure::usage(
                "NO_TOKEN",
                "a token is needed: `clawbridge token create --name NAME`, then put it into CLAWBRIDGE_TOKEN",
            )
        })?;
        let base = base.trim_end_matches('/').to_owned();
        Ok(Http { client: http_client()?, base, token: token.trim().to_owned() })
    }

    /// Asks, and returns what a success answers.
    pub(crate) async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let url = format!("{}/api/v1{path}", self.base);
        let mut request = self.client.request(method, url).header("authorization", format!("Bearer {}", self.token));
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let failed = |error: reqwest::Error| {
            Failure::new("API_UNAVAILABLE", format!("the API at {} does not answer: {}", self.base, cause(&error)))
        };
        let answer = request.send().await.map_err(failed)?;
        let status = answer.status().as_u16();
        let bytes = answer.bytes().await.map_err(failed)?;
        let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        match status {
            200..=299 => Ok(body),
            _ => Err(refused(status, &body["error"])),
        }
    }
}

/// What the API said, in the command line's terms.
fn refused(status: u16, error: &Value) -> Failure {
    let mut message = error["message"].as_str().unwrap_or("the API gave no reason").to_owned();
    let fields = error["fields"].as_array().filter(|fields| fields.len() > 1);
    for field in fields.into_iter().flatten() {
        let text = |name: &str| field[name].as_str().unwrap_or_default();
        message.push_str(&format!("\n  {}: {}", text("path"), text("message")));
    }
    match status {
        400 | 413 | 415 => Failure::usage("REFUSED", message),
        401 | 403 => Failure::negative("NOT_ALLOWED", message),
        404 => Failure::not_found("NOT_FOUND", message),
        409 | 412 => Failure::negative("CONFLICT", message),
        _ => Failure::new("API_UNAVAILABLE", format!("{message} (status {status})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Exit;
    use serde_json::json;

    #[test]
    fn what_the_api_says_is_told_with_the_exit_status_that_belongs_to_it() {
        let two = json!({"message": "2 fields are wrong", "fields": [{"path": "url", "message": "no"}, {"path": "events.0", "message": "none"}]});
        for (status, error, exit, says) in [
            (400, two, Exit::Usage, "events.0: none"),
            (403, json!({"message": "lacks the scope"}), Exit::Negative, "scope"),
            (404, json!({"message": "there is no such webhook"}), Exit::NotFound, "webhook"),
            (409, json!({"message": "paused"}), Exit::Negative, "paused"),
            (503, json!({}), Exit::Unreachable, "503"),
        ] {
            let failure = refused(status, &error);
            assert_eq!(failure.exit, exit, "{status}");
            assert!(failure.message.contains(says), "{failure}");
        }
    }
}
