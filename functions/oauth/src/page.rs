//! The pages that a person sees: no script, nothing from elsewhere, every value escaped.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};
use std::fmt::Write as _;
use std::sync::LazyLock;

const STYLE: &str = "body{font:1.1rem/1.5 system-ui,sans-serif;max-width:36rem;margin:4rem auto;padding:0 1rem;color:#1a1a1a;background:#fff}\
h1{font-size:1.5rem}code{overflow-wrap:anywhere}small{color:#595959}\
@media(prefers-color-scheme:dark){body{color:#eee;background:#181818}small{color:#aaa}}";

/// The policy that all answers carry (Content Security Policy Level 3): the style above and nothing else, in nobody's frame.
pub(crate) fn policy() -> &'static str {
    static POLICY: LazyLock<String> = LazyLock::new(|| {
        let hash = STANDARD.encode(digest(&SHA256, STYLE.as_bytes()));
        format!(
            "default-src 'none'; style-src 'sha256-{hash}'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
    });
    &POLICY
}

/// An account is connected.
pub(crate) fn connected(title: &str, account: &str, scopes: &[String]) -> String {
    let (title, account) = (escaped(title), escaped(account));
    let mut text = format!("<p>The account <strong>{account}</strong> at {title} is connected.</p>");
    if scopes.is_empty() {
        let _ = write!(text, "<p>{title} did not say which permissions that includes.</p>");
    } else {
        let _ = write!(text, "<p>What it may be used for, in the words of {title}:</p>{}", list(scopes));
    }
    text.push_str("<p>You can close this page.</p>");
    page("Connected", &text)
}

/// It is not. `missing`: permissions that were not given.
pub(crate) fn refused(said: &str, missing: &[String], code: &str) -> String {
    let mut text = format!("<p>{}</p>", escaped(said));
    if !missing.is_empty() {
        let _ = write!(text, "<p>Permissions that are missing:</p>{}", list(missing));
    }
    let _ = write!(text, "<p><small>{}</small></p>", escaped(code));
    page("Not connected", &text)
}

fn list(words: &[String]) -> String {
    let mut text = String::from("<ul>");
    for word in words {
        let _ = write!(text, "<li><code>{}</code></li>", escaped(word));
    }
    text.push_str("</ul>");
    text
}

/// `text` is HTML already. The icon is an empty one, so that browsers ask for none.
fn page(heading: &str, text: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{heading}</title>\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><meta name=\"robots\" content=\"noindex\">\
         <link rel=\"icon\" href=\"data:,\"><style>{STYLE}</style></head>\
         <body><main><h1>{heading}</h1>{text}</main></body></html>\n"
    )
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const NASTY: &str = "<script>alert('1')</script>\"&\u{0}";
    const ESCAPED: &str = "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&quot;&amp;";

    #[test]
    fn values_are_text_on_every_page() {
        let scopes = [NASTY.to_owned()];
        for (page, count) in [
            (connected(NASTY, NASTY, &scopes), 4),
            (connected(NASTY, NASTY, &[]), 3),
            (refused(NASTY, &scopes, NASTY), 3),
        ] {
            assert_eq!(page.matches(ESCAPED).count(), count, "{page}");
            assert!(!page.contains("<script") && !page.contains('\0'), "{page}");
        }
    }

    #[test]
    fn the_policy_lets_the_style_pass_and_nothing_else() {
        let hash = STANDARD.encode(digest(&SHA256, STYLE.as_bytes()));
        assert!(policy().starts_with("default-src 'none'; "));
        assert!(policy().contains(&format!("style-src 'sha256-{hash}'")));
        assert!(policy().contains("frame-ancestors 'none'"));
        let page = refused("x", &[], "CODE");
        assert!(page.contains(&format!("<style>{STYLE}</style>")) && page.contains("<html lang=\"en\">"), "{page}");
    }
}
