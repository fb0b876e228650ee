//! Where the channel is, and the token for it.

use super::args::ChatArgs;
use crate::cli::Global;
use crate::failure::Failure;
use crate::operator::reach;
use clawbridge_access::Presented;
use reqwest::Url;
use std::fmt;
use std::path::{Path, PathBuf};

/// Where a token may also be: for scripts and containers.
const TOKEN_VARIABLE: &str = "CLAWBRIDGE_TOKEN";

/// The stage of the channel's API.
const PATH: &str = "/responses";

/// What a client connects to, and as whom.
#[derive(Clone)]
pub(super) struct Channel {
    /// `ws://` or `wss://`
    pub(super) url: String,
    pub(super) token: String,
}

// The token is a credential.
impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("url", &self.url).finish_non_exhaustive()
    }
}

/// The channel's address.
///
/// # Errors
/// None is known, or it is no address for a token.
pub(super) async fn url(global: &Global, args: &ChatArgs) -> Result<Url, Failure> {
    if let Some(url) = &args.url {
        return channel_url(url);
    }
    if let Some(stack) = &global.stack {
        let message = format!("where the channel of {stack} is, is its output ChannelUrl: give it with --url");
        return Err(Failure::usage("URL_MISSING", message));
    }
    let stack = reach::local(global).await?;
    channel_url(&stack.channel_url.unwrap_or_default())
}

/// The token.
///
/// # Errors
/// There is none; what is there is none.
pub(super) fn token(global: &Global, args: &ChatArgs, url: &Url) -> Result<String, Failure> {
    let paired = paired_at(&args.state, url, args.agent.as_deref().unwrap_or_default());
    if args.pair {
        return checked(&read(&paired)?, &paired.display().to_string());
    }
    if let Some(file) = &args.token_file {
        return checked(&read(file)?, &file.display().to_string());
    }
    if let Ok(token) = std::env::var(TOKEN_VARIABLE) {
        return checked(&token, &format!("the variable {TOKEN_VARIABLE}"));
    }
    let own = args.state.join("token");
    let is_own = args.url.is_none() && global.stack.is_none();
    for file in std::iter::once(&paired).chain(is_own.then_some(&own)) {
        if file.exists() {
            return checked(&read(file)?, &file.display().to_string());
        }
    }
    let place =
        if is_own { format!(" in {} (another directory: --state)", args.state.display()) } else { String::new() };
    let message = format!(
        "there is no token{place}; make one with `clawbridge token create --name chat --scope execute > FILE` and give it with \
         --token-file FILE, or ask for one with `clawbridge chat AGENT --pair`"
    );
    Err(Failure::usage("TOKEN_MISSING", message))
}

/// Where the token of a pairing is kept: one for each channel and agent.
pub(super) fn paired_at(state: &Path, url: &Url, agent: &str) -> PathBuf {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    let plain = |text: &str| text.chars().map(|c| if is_plain(c) { c } else { '_' }).collect::<String>();
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or_default();
    state.join("chat").join(format!("{}_{port}_{}.token", plain(host), plain(agent)))
}

fn read(file: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(file)
        .map_err(|error| Failure::usage("TOKEN_UNREADABLE", format!("{}: {error}", file.display())))
}

/// The token, where it can be one: the rest is for the bridge to say.
fn checked(text: &str, place: &str) -> Result<String, Failure> {
    let token = text.trim();
    match Presented::parse(Some(&format!("Bearer {token}"))) {
        Ok(_) => Ok(token.to_owned()),
        Err(_) => {
            Err(Failure::usage("TOKEN_INVALID", format!("what is in {place} is not a token of the bridge (ocl_…)")))
        }
    }
}

/// An address as it was given: `http` is taken for `ws`, and a host alone means the channel's usual path.
fn channel_url(text: &str) -> Result<Url, Failure> {
    let wrong = |message: &str| Failure::usage("URL_INVALID", format!("{message}; it is written as wss://HOST{PATH}"));
    let text = match text.split_once("://") {
        Some(("http", rest)) => format!("ws://{rest}"),
        Some(("https", rest)) => format!("wss://{rest}"),
        _ => text.to_owned(),
    };
    let mut url = Url::parse(&text).map_err(|error| wrong(&format!("the channel's address is no URL: {error}")))?;
    let host = url.host_str().unwrap_or_default().to_owned();
    let is_here = host == "localhost"
        || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    match url.scheme() {
        _ if host.is_empty() || !url.username().is_empty() || url.password().is_some() => {
            Err(wrong("the channel's address has a host, and no user or password"))
        }
        "wss" => Ok(()),
        "ws" if is_here => Ok(()),
        "ws" => Err(wrong("the token would travel unencrypted over ws://")),
        _ => Err(wrong("the channel's address begins with wss://")),
    }?;
    if matches!(url.path(), "" | "/") {
        url.set_path(PATH);
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_for_a_token_or_refused() {
        for (text, expected) in [
            ("wss://x.example/responses", Some("wss://x.example/responses")),
            ("https://x.example", Some("wss://x.example/responses")),
            ("wss://x.example/prod/", Some("wss://x.example/prod/")),
            ("http://127.0.0.1:3000", Some("ws://127.0.0.1:3000/responses")),
            ("ws://localhost:3000/", Some("ws://localhost:3000/responses")),
            ("ws://[::1]:3000", Some("ws://[::1]:3000/responses")),
            ("ws://x.example", None),
            ("ws://127.0.0.1.example", None),
            ("wss://user:secret@x.example", None),
            ("ftp://x.example", None),
            ("x.example", None),
            ("", None),
        ] {
            let url = channel_url(text);
            assert_eq!(url.as_ref().ok().map(Url::as_str), expected, "{text}");
            assert!(!url.is_err_and(|failure| failure.message.contains("secret")));
        }
    }

    #[test]
    fn tokens_of_pairings_are_kept_apart() {
        let at = |url: &str, agent: &str| paired_at(Path::new("s"), &Url::parse(url).expect("a URL"), agent);
        assert_eq!(at("wss://x.example/responses", "a"), Path::new("s/chat/x.example_443_a.token"));
        assert_eq!(at("ws://127.0.0.1:3000", "../a"), Path::new("s/chat/127.0.0.1_3000_.._a.token"));
    }
}
