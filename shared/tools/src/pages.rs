//! The pages of a list: where the next one is, and when there are enough. Pure.

use crate::request::{Prepared, set_parameter};
use clawbridge_config::{CompiledPages, PageKind, Pages};
use reqwest::Url;
use reqwest::header::{HeaderMap, LINK};
use serde_json::{Value, json};

/// What asks for a page.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Ask {
    /// The request as it is.
    Plain,
    /// With this cursor, number or offset.
    With(Value),
    /// At this address.
    At(Box<Url>),
}

/// What was collected so far.
#[derive(Debug)]
pub(crate) struct Walk<'t> {
    declared: &'t Pages,
    programs: &'t CompiledPages,
    is_graphql: bool,
    items: Vec<Value>,
    pages: u32,
    truncated: bool,
    /// What has asked for a page, so that none is asked for twice.
    asked: Vec<Ask>,
}

impl<'t> Walk<'t> {
    pub(crate) fn new(declared: &'t Pages, programs: &'t CompiledPages, is_graphql: bool) -> Walk<'t> {
        Walk { declared, programs, is_graphql, items: Vec::new(), pages: 0, truncated: false, asked: Vec::new() }
    }

    /// What asks for the first page.
    pub(crate) fn first(&self) -> Ask {
        self.declared.start.map_or(Ask::Plain, |start| Ask::With(json!(start)))
    }

    /// Whether a page beyond the first that the upstream does not have is only the end: numbers are asked for without knowing.
    pub(crate) fn may_end_beyond(&self) -> bool {
        self.pages > 0 && matches!(self.declared.kind, PageKind::Page | PageKind::Offset)
    }

    /// How many pages there are so far.
    pub(crate) fn count(&self) -> u32 {
        self.pages
    }

    /// There is more, and it is not asked for.
    pub(crate) fn cut(&mut self) {
        self.truncated = true;
    }

    /// The request for a page.
    ///
    /// # Errors
    /// The body has no place for what asks for it.
    pub(crate) fn request(&self, prepared: &Prepared, ask: &Ask) -> Result<Prepared, String> {
        let mut request = prepared.clone();
        match ask {
            Ask::Plain => {}
            Ask::At(url) => request.url = (**url).clone(),
            Ask::With(value) => {
                if let Some(name) = &self.declared.param {
                    set_parameter(&mut request.url, name, &plain(value));
                }
                if let Some(name) = &self.declared.field {
                    self.set_field(request.body.as_mut(), name, value)?;
                }
            }
        }
        Ok(request)
    }

    fn set_field(&self, body: Option<&mut Value>, name: &str, value: &Value) -> Result<(), String> {
        let fields = match body {
            Some(body) if self.is_graphql => Some(&mut body["variables"]),
            body => body,
        };
        match fields {
            Some(fields @ Value::Null) => *fields = json!({ name: value }),
            Some(Value::Object(fields)) => {
                fields.insert(name.to_owned(), value.clone());
            }
            _ => return Err("pages.field is set, but the body is no object".to_owned()),
        }
        Ok(())
    }

    /// Takes a page that was found at `url`, and says what asks for the next one. `None`: there is none, or there are enough.
    ///
    /// # Errors
    /// Why the page is none: for a person, with nothing of its content.
    pub(crate) fn take(&mut self, answer: &Value, headers: &HeaderMap, url: &Url) -> Result<Option<Ask>, String> {
        let found = self.programs.items(answer).map_err(|error| format!("pages.items: {error}"))?;
        let Value::Array(items) = found else {
            return Err(format!("pages.items gives {}, not an array", type_name(&found)));
        };
        let count = items.len();
        self.items.extend(items);
        self.pages += 1;
        let next = self.next(answer, headers, url, count)?;
        let max_items = usize::try_from(self.declared.max_items).unwrap_or(usize::MAX);
        if self.items.len() > max_items || (self.items.len() == max_items && next.is_some()) {
            self.items.truncate(max_items);
            self.truncated = true;
            return Ok(None);
        }
        let Some(next) = next else { return Ok(None) };
        if self.pages >= self.declared.max {
            self.truncated = true;
            return Ok(None);
        }
        if self.asked.contains(&next) {
            return Err("the page says that the next one is one that was read already".to_owned());
        }
        self.asked.push(next.clone());
        Ok(Some(next))
    }

    fn next(&self, answer: &Value, headers: &HeaderMap, url: &Url, count: usize) -> Result<Option<Ask>, String> {
        let told = self.programs.next(answer).map_err(|error| format!("pages.next: {error}"))?;
        let is_end = matches!(told, Some(Value::Null | Value::Bool(false)));
        let is_full = self.declared.size.is_none_or(|size| count >= usize::try_from(size).unwrap_or(usize::MAX));
        match self.declared.kind {
            PageKind::Cursor => match told {
                _ if is_end => Ok(None),
                Some(Value::String(cursor)) if cursor.is_empty() => Ok(None),
                Some(cursor @ (Value::String(_) | Value::Number(_))) => Ok(Some(Ask::With(cursor))),
                other => Err(format!("pages.next gives {}, not a cursor", other.as_ref().map_or("nothing", type_name))),
            },
            PageKind::Page | PageKind::Offset if is_end || count == 0 || !is_full => Ok(None),
            PageKind::Page => Ok(Some(Ask::With(json!(self.declared.start.unwrap_or(1).saturating_add(self.pages))))),
            PageKind::Offset => {
                let start = u64::from(self.declared.start.unwrap_or(0));
                Ok(Some(Ask::With(json!(start + self.items.len() as u64))))
            }
            PageKind::Link => {
                let address = match told {
                    _ if is_end => None,
                    Some(Value::String(address)) => Some(address).filter(|address| !address.is_empty()),
                    Some(other) => return Err(format!("pages.next gives {}, not an address", type_name(&other))),
                    None => next_link(headers),
                };
                address.map(|address| at(url, &address).map(Ask::At)).transpose()
            }
        }
    }

    /// The result: what an agent is given of the pages.
    pub(crate) fn result(self) -> Value {
        json!({"items": self.items, "pages": self.pages, "truncated": self.truncated})
    }
}

/// The address of the next page, which a credential may be sent to: that of the same server as `url`.
fn at(url: &Url, address: &str) -> Result<Box<Url>, String> {
    let mut next = url.join(address).map_err(|_| "the address of the next page is none".to_owned())?;
    next.set_fragment(None);
    if next.origin() != url.origin() || !next.username().is_empty() || next.password().is_some() {
        return Err("the next page is said to be at another server; it was not asked for".to_owned());
    }
    Ok(Box::new(next))
}

/// The target of the first link with the relation `next` (RFC 8288, section 3).
fn next_link(headers: &HeaderMap) -> Option<String> {
    let links = headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok());
    links.flat_map(links_of).find_map(|(target, relations)| {
        let is_next = relations.split_ascii_whitespace().any(|relation| relation.eq_ignore_ascii_case("next"));
        is_next.then_some(target)
    })
}

/// Targets and relations: `<…>; rel="next prev"; title="a, b", <…>; rel=last`.
fn links_of(value: &str) -> Vec<(String, String)> {
    let mut links = Vec::new();
    let mut rest = value;
    while let Some((_, after)) = rest.split_once('<') {
        let Some((target, after)) = after.split_once('>') else { break };
        let mut relations = None;
        rest = after.trim_start();
        while let Some(parameter) = rest.strip_prefix(';') {
            let parameter = parameter.trim_start();
            let end = parameter.find(['=', ';', ',']).unwrap_or(parameter.len());
            let name = parameter[..end].trim();
            rest = &parameter[end..];
            if let Some(value) = rest.strip_prefix('=') {
                let (value, after) = parameter_value(value.trim_start());
                rest = after.trim_start();
                // The first counts (section 3.3).
                if name.eq_ignore_ascii_case("rel") && relations.is_none() {
                    relations = Some(value);
                }
            }
        }
        links.push((target.trim().to_owned(), relations.unwrap_or_default()));
    }
    links
}

/// A token or a quoted string, and what follows it.
fn parameter_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([';', ',']).unwrap_or(text.len());
        return (text[..end].trim().to_owned(), &text[end..]);
    };
    let (mut value, mut is_escaped) = (String::new(), false);
    for (at, char) in quoted.char_indices() {
        match char {
            _ if std::mem::take(&mut is_escaped) => value.push(char),
            '\\' => is_escaped = true,
            '"' => return (value, &quoted[at + 1..]),
            _ => value.push(char),
        }
    }
    (value, "")
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clawbridge_config::{Compiled, check};
    use proptest::prelude::*;
    use reqwest::header::HeaderValue;

    fn compiled(pages: &str) -> Compiled {
        let text = format!("[tools.t]\nmethod = \"GET\"\nurl = \"https://a.example/list\"\n[tools.t.pages]\n{pages}\n");
        let (config, diagnostics) = check(&text);
        config.unwrap_or_else(|| panic!("{diagnostics:?}")).compile().expect("a configuration")
    }

    fn linked(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(LINK, HeaderValue::from_str(value).expect("a value"))])
    }

    fn here() -> Url {
        Url::parse("https://a.example/list?x=1").expect("a URL")
    }

    /// What asks for the page after each of these answers, and the result.
    fn walk(pages: &str, answers: &[Value]) -> (Vec<Ask>, Result<Value, String>) {
        let config = compiled(pages);
        let tool = config.tool("t").expect("a tool");
        let (declared, programs) = (tool.tool().pages.as_ref().expect("pages"), tool.pages().expect("programs"));
        let mut walk = Walk::new(declared, programs, false);
        let mut asked = vec![walk.first()];
        for answer in answers {
            match walk.take(answer, &HeaderMap::new(), &here()) {
                Ok(Some(next)) => asked.push(next),
                Ok(None) => return (asked, Ok(walk.result())),
                Err(reason) => return (asked, Err(reason)),
            }
        }
        (asked, Err("more answers were asked for".to_owned()))
    }

    fn with(value: impl Into<Value>) -> Ask {
        Ask::With(value.into())
    }

    #[test]
    fn a_cursor_is_followed_until_there_is_none() {
        let pages =
            "kind = \"cursor\"\nitems = \".data\"\nnext = 'if .more then .data[-1] else null end'\nparam = \"after\"";
        let page = |items: &[i32], more: bool| json!({"data": items, "more": more});
        let (asked, result) = walk(pages, &[page(&[1, 2], true), page(&[3], true), page(&[], false)]);
        assert_eq!(asked, [Ask::Plain, with(2), with(3)]);
        assert_eq!(result, Ok(json!({"items": [1, 2, 3], "pages": 3, "truncated": false})));
        for end in [json!({"items": [], "next": ""}), json!({"items": [], "next": false}), json!({"items": []})] {
            let (asked, result) =
                walk("kind = \"cursor\"\nitems = \".items\"\nnext = \".next\"\nparam = \"a\"", &[end]);
            assert_eq!((asked.len(), result.is_ok()), (1, true));
        }
    }

    #[test]
    fn numbers_are_counted_until_a_page_is_empty_short_or_the_last() {
        let full = json!([1, 2]);
        let (asked, _) = walk("kind = \"page\"\nparam = \"page\"", &[full.clone(), full.clone(), json!([])]);
        assert_eq!(asked, [Ask::Plain, with(2), with(3)]);
        let (asked, _) = walk("kind = \"page\"\nparam = \"page\"\nstart = 0\nsize = 2", &[full.clone(), json!([1])]);
        assert_eq!(asked, [with(0), with(1)]);
        let (asked, result) = walk("kind = \"offset\"\nparam = \"skip\"\nsize = 2", &[full.clone(), full, json!([5])]);
        assert_eq!(asked, [Ask::Plain, with(2), with(4)]);
        assert_eq!(result, Ok(json!({"items": [1, 2, 1, 2, 5], "pages": 3, "truncated": false})));
        let more = "kind = \"page\"\nparam = \"page\"\nitems = \".a\"\nnext = \".more\"";
        let (asked, _) = walk(more, &[json!({"a": [1], "more": true}), json!({"a": [1], "more": false})]);
        assert_eq!(asked, [Ask::Plain, with(2)]);
    }

    #[test]
    fn limits_cut_and_the_result_says_so() {
        let full = json!([1, 2]);
        let (asked, result) = walk("kind = \"page\"\nparam = \"page\"\nmax = 2", &[full.clone(), full.clone()]);
        assert_eq!((asked.len(), result), (2, Ok(json!({"items": [1, 2, 1, 2], "pages": 2, "truncated": true}))));
        let (_, result) = walk("kind = \"page\"\nparam = \"page\"\nmax_items = 3", &[full.clone(), full.clone()]);
        assert_eq!(result, Ok(json!({"items": [1, 2, 1], "pages": 2, "truncated": true})));
        // Enough, and there is more; enough, and there is not.
        let (_, result) = walk("kind = \"page\"\nparam = \"page\"\nmax_items = 2", std::slice::from_ref(&full));
        assert_eq!(result, Ok(json!({"items": [1, 2], "pages": 1, "truncated": true})));
        let (_, result) = walk("kind = \"page\"\nparam = \"page\"\nmax_items = 2\nsize = 3", &[full]);
        assert_eq!(result, Ok(json!({"items": [1, 2], "pages": 1, "truncated": false})));
    }

    #[test]
    fn what_is_no_page_is_refused() {
        let cursor = "kind = \"cursor\"\nitems = \".items\"\nnext = \".next\"\nparam = \"a\"";
        for (answer, says) in [
            (json!({"items": null}), "pages.items gives null, not an array"),
            (json!({"items": {}}), "pages.items gives an object"),
            (json!([1]), "pages.items: the program failed"),
            (json!({"items": [], "next": [1]}), "pages.next gives an array, not a cursor"),
            (json!({"items": [], "next": true}), "pages.next gives a boolean"),
        ] {
            let (_, result) = walk(cursor, &[answer]);
            assert!(result.as_ref().is_err_and(|reason| reason.contains(says)), "{result:?}");
        }
        let same = json!({"items": [1], "next": "x"});
        let (_, result) = walk(cursor, &[same.clone(), same]);
        assert!(result.as_ref().is_err_and(|reason| reason.contains("read already")), "{result:?}");
    }

    #[test]
    fn a_next_address_is_one_of_the_same_server() {
        let config = compiled("kind = \"link\"");
        let tool = config.tool("t").expect("a tool");
        let (declared, programs) = (tool.tool().pages.as_ref().expect("pages"), tool.pages().expect("programs"));
        let next = |link: &str| Walk::new(declared, programs, false).take(&json!([1]), &linked(link), &here());
        for (link, expected) in [
            ("<https://a.example/list?page=2>; rel=\"next\"", Some("https://a.example/list?page=2")),
            ("<https://a.example:443/x>; rel=next", Some("https://a.example/x")),
            (
                "</list?page=2#part>; title=\"a, <b>; rel=prev\"; rel=\"last NEXT\"",
                Some("https://a.example/list?page=2"),
            ),
            ("<?page=2>;rel=prev , <?page=3> ; rel = \"next\"; rel=prev", Some("https://a.example/list?page=3")),
            ("<?page=2>; rel=prev; rel=next", None),
            ("<?page=2>", None),
            ("nonsense; rel=next", None),
            ("<?page=2; rel=next", None),
        ] {
            let found = next(link).map(|next| {
                next.map(|next| match next {
                    Ask::At(url) => url.to_string(),
                    other => panic!("{other:?}"),
                })
            });
            assert_eq!(found, Ok(expected.map(str::to_owned)), "{link}");
        }
        for link in [
            "<https://b.example/list>; rel=next",
            "<http://a.example/list>; rel=next",
            "<https://a.example:8443/list>; rel=next",
            "<//b.example/list>; rel=next",
            "<https://user:pass@a.example/list>; rel=next",
            "<https://a.example@b.example/>; rel=next",
            "<\\\\b.example/list>; rel=next",
            "<javascript:alert(1)>; rel=next",
            "<file:///etc/passwd>; rel=next",
        ] {
            let reason = next(link).expect_err(link);
            assert!(reason.contains("at another server") && !reason.contains("b.example"), "{link}: {reason}");
        }
    }

    #[test]
    fn an_address_may_stand_in_the_answer() {
        let pages = "kind = \"link\"\nitems = \".items\"\nnext = \".next\"";
        let (asked, result) =
            walk(pages, &[json!({"items": [1], "next": "/list?after=1"}), json!({"items": [2], "next": null})]);
        let expected = Url::parse("https://a.example/list?after=1").expect("a URL");
        assert_eq!(asked, [Ask::Plain, Ask::At(Box::new(expected))]);
        assert_eq!(result, Ok(json!({"items": [1, 2], "pages": 2, "truncated": false})));
        let (_, result) = walk(pages, &[json!({"items": [], "next": 5})]);
        assert!(result.is_err_and(|reason| reason.contains("not an address")));
    }

    proptest! {
        #[test]
        fn no_link_header_makes_it_panic_or_leaves_the_server(value in "[<>;,=\"\\\\ a-z:/?#@.]{0,60}") {
            let links = links_of(&value);
            for (target, _) in links {
                if let Ok(next) = at(&here(), &target) {
                    prop_assert_eq!(next.origin(), here().origin());
                }
            }
            let _ = next_link(&linked(&value));
        }
    }
}
