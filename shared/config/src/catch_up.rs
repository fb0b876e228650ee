//! Reading `[catch_up.NAME]`.

use crate::diagnostic::Code;
use crate::document;
use crate::model::{CatchUp, GithubLog, default_github_api};
use crate::node::Entry;
use crate::reader::{Fields, Found, Reader, nearest, short};
use crate::tool;

/// The name of the bridge's own events, which nobody delivers.
const BRIDGE: &str = "bridge";

/// Read a log of deliveries. `None` if something is wrong with it; that has been reported then.
pub(crate) fn read(reader: &mut Reader<'_>, entry: &Entry, path: &str) -> Option<CatchUp> {
    if !document::is_name(&entry.key, b"-_") || entry.key == BRIDGE {
        let message = format!(
            "{:?} cannot be the name of a source: names have up to 64 small letters, digits, - and _, and {BRIDGE} is the bridge itself",
            short(&entry.key)
        );
        reader.error(Code::InvalidName, path, entry.key_at, message);
    }
    let fields = reader.table(&entry.node, path, &["provider", "hook", "secret", "api"])?;
    let provider = reader.required(&fields, "provider");
    // A second provider brings keys of its own; until then the keys are those of the one.
    let is_known = provider.as_ref().is_some_and(|found| is_provider(reader, found));
    let log = github(reader, &fields);
    is_known.then_some(CatchUp::Github(log?))
}

fn is_provider(reader: &mut Reader<'_>, found: &Found<'_>) -> bool {
    let is_known = CatchUp::PROVIDERS.contains(&found.value());
    if !is_known {
        let words = CatchUp::PROVIDERS.join(", ");
        let message = format!("{} is {:?}, which is none of {words}", found.path, short(found.value()));
        reader.error(Code::InvalidValue, &found.path, found.at, message).suggestion =
            nearest(found.value(), CatchUp::PROVIDERS).map(|near| format!("did you mean {near:?}?"));
    }
    is_known
}

fn github(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<GithubLog> {
    let hook = reader.required(fields, "hook").filter(|found| is_hook(reader, found));
    let secret = reader.required(fields, "secret");
    if let Some(found) = &secret {
        tool::secret_name(reader, found);
    }
    let api = match reader.optional(fields, "api") {
        Some(found) => api(reader, &found, &fields.path)?,
        None => default_github_api(),
    };
    Some(GithubLog { hook: hook?.value().to_owned(), secret: secret?.value().to_owned(), api })
}

/// Whether this is the path of a webhook in GitHub's REST API. If not, that is reported.
fn is_hook(reader: &mut Reader<'_>, found: &Found<'_>) -> bool {
    let is_part = |part: &str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        (1..=100).contains(&part.len()) && part != "." && part != ".." && part.bytes().all(is_plain)
    };
    let is_id = |id: &str| (1..=20).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<&str> = found.value().split('/').collect();
    let (message, suggestion) = match parts[..] {
        ["repos", owner, repo, "hooks", id] if is_part(owner) && is_part(repo) && is_id(id) => return true,
        ["orgs", org, "hooks", id] if is_part(org) && is_id(id) => return true,
        ["app", "hook"] => (
            format!(
                "{}: the log of a GitHub App's own webhook is read with a token that the app signs, which the bridge does not make",
                found.path
            ),
            Some("name the webhook of a repository or an organization".to_owned()),
        ),
        // Not repeated: somebody may have written the token here.
        _ => (format!("{} must be repos/OWNER/REPO/hooks/ID or orgs/ORG/hooks/ID", found.path), from_page(&parts)),
    };
    reader.error(Code::InvalidHook, &found.path, found.at, message).suggestion = suggestion;
    false
}

/// What was meant by the address of the page on which GitHub shows the webhook, or by a path with a slash too many.
fn from_page(parts: &[&str]) -> Option<String> {
    let parts: Vec<&str> = parts.iter().copied().filter(|part| !part.is_empty()).collect();
    let hook = match parts[..] {
        ["https:", _, "organizations", org, "settings", "hooks", id] => format!("orgs/{org}/hooks/{id}"),
        ["https:", _, owner, repo, "settings", "hooks", id] => format!("repos/{owner}/{repo}/hooks/{id}"),
        ["repos", owner, repo, "hooks", id] => format!("repos/{owner}/{repo}/hooks/{id}"),
        ["orgs", org, "hooks", id] => format!("orgs/{org}/hooks/{id}"),
        _ => return None,
    };
    Some(format!("did you mean {:?}?", short(&hook)))
}

/// The address of an API: a URL without anything after its path.
fn api(reader: &mut Reader<'_>, found: &Found<'_>, whose: &str) -> Option<String> {
    let text = found.value();
    let url = tool::url(reader, found)?;
    if url.is_bridge() || text.contains(['{', '}', '?', '#']) {
        let message =
            format!("{} must be the address of an API up to its path, such as https://HOST/api/v3", found.path);
        reader.error(Code::InvalidUrl, &found.path, found.at, message);
        return None;
    }
    tool::insecure(reader, found, &url, whose);
    Some(text.trim_end_matches('/').to_owned())
}
