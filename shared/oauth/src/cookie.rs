//! The cookie that ties an authorization response to the browser that began (RFC 6749, section 10.12; RFC 6265).

use crate::word::Browser;

/// The cookie's name. The prefix makes browsers take it over TLS only, from this very host (RFC 6265bis, section 4.1.3.2).
pub const COOKIE: &str = "__Host-clawbridge-oauth";
/// Its name over plain HTTP at the developer's machine, where the prefix cannot be.
pub const LOOPBACK_COOKIE: &str = "clawbridge-oauth";

/// How the cookie is written for a public address and a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cookie {
    /// Whether the bridge is reached over TLS.
    pub is_https: bool,
    /// Whether the provider has the browser post its answer (`response_mode=form_post`): such a request comes from another site, and
    /// `SameSite=Lax` would leave the cookie out.
    pub is_posted: bool,
}

impl Cookie {
    fn name(self) -> &'static str {
        if self.is_https { COOKIE } else { LOOPBACK_COOKIE }
    }

    fn attributes(self) -> &'static str {
        match (self.is_https, self.is_posted) {
            (true, false) => "Path=/; Secure; HttpOnly; SameSite=Lax",
            // Without Secure, no browser takes SameSite=None; with it, they do from loopback.
            (_, true) => "Path=/; Secure; HttpOnly; SameSite=None",
            (false, false) => "Path=/; HttpOnly; SameSite=Lax",
        }
    }

    /// The value of the header `Set-Cookie`, for as long as a state is good.
    #[must_use]
    pub fn set(self, browser: &Browser, seconds: u32) -> String {
        format!("{}={}; Max-Age={seconds}; {}", self.name(), browser.expose(), self.attributes())
    }

    /// The value of the header `Set-Cookie` that removes it.
    #[must_use]
    pub fn clear(self) -> String {
        format!("{}=; Max-Age=0; {}", self.name(), self.attributes())
    }

    /// The browser that a request's header `Cookie` names. Two that differ are none: one of them was put there by somebody else.
    #[must_use]
    pub fn read(self, header: &str) -> Option<Browser> {
        let mut found = header
            .split(';')
            .filter_map(|pair| pair.trim().split_once('='))
            .filter(|(name, _)| *name == self.name())
            .map(|(_, value)| Browser::parse(value));
        let first = found.next()??;
        found.all(|other| other.as_ref() == Some(&first)).then_some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_bound_to_the_host_and_read_back() {
        let browser = Browser::new([9; 32]);
        for (is_https, is_posted, name, attributes) in [
            (true, false, COOKIE, "Path=/; Secure; HttpOnly; SameSite=Lax"),
            (true, true, COOKIE, "Path=/; Secure; HttpOnly; SameSite=None"),
            (false, false, LOOPBACK_COOKIE, "Path=/; HttpOnly; SameSite=Lax"),
            (false, true, LOOPBACK_COOKIE, "Path=/; Secure; HttpOnly; SameSite=None"),
        ] {
            let cookie = Cookie { is_https, is_posted };
            let set = cookie.set(&browser, 600);
            assert_eq!(set, format!("{name}={}; Max-Age=600; {attributes}", browser.expose()));
            let sent = set.split(';').next().unwrap();
            assert_eq!(cookie.read(&format!("a=b; {sent};c=d")), Some(browser.clone()));
            assert_eq!(cookie.clear(), format!("{name}=; Max-Age=0; {attributes}"));
        }
    }

    #[test]
    fn what_is_no_cookie_of_ours_names_no_browser() {
        let cookie = Cookie { is_https: true, is_posted: false };
        let (one, other) = (Browser::new([1; 32]), Browser::new([2; 32]));
        let (one, other) = (one.expose(), other.expose());
        for header in [
            String::new(),
            format!("{LOOPBACK_COOKIE}={one}"),
            format!("{COOKIE}="),
            format!("{COOKIE}={one}x"),
            format!("{COOKIE}={one}; {COOKIE}={other}"),
            format!("x{COOKIE}={one}"),
        ] {
            assert_eq!(cookie.read(&header), None, "{header}");
        }
    }
}
