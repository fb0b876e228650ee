//! Microsoft Graph: <https://learn.microsoft.com/graph/change-notifications-delivery-webhooks>.
//!
//! Every item of the body's `value` must carry, as its `clientState`, one of the source's secrets. Items of one request may carry different ones:
//! each has the state of its own subscription, and a secret may be in rotation. The body is not signed.
//!
//! A request with resource data carries tokens of Microsoft's besides
//! (<https://learn.microsoft.com/graph/change-notifications-with-resource-data>). They are checked where the source names the app that they
//! are made out to, its `audience`; such a source takes no encrypted item without them.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{Asked, jwt};
use crate::mac::same_token;
use crate::refusal::Refusal;
use crate::request::Request;
use crate::source::{Options, Source};
use crate::verify::Wanted;

/// Answers with the last of the secrets that an item carries: the count of each then tells when an old one is no longer used.
pub(super) fn verify(asked: &Asked<'_>) -> Result<usize, Refusal> {
    const EXPECTED: &str = "a JSON object with a list `value` of at least one notification";
    let mut found = Found::default();
    let mut json = serde_json::Deserializer::from_slice(asked.request.body);
    let read = Level { source: asked.source, found: &mut found, of: Of::Body }
        .deserialize(&mut json)
        .and_then(|()| json.end());
    if read.is_err() || found.items == 0 {
        return Err(Refusal::BodyMalformed { expected: EXPECTED });
    }
    if found.without > 0 {
        return Err(Refusal::SignatureMissing { place: "the clientState of an item of `value` in the body".into() });
    }
    let index = match found.last {
        Some(index) if found.mismatched == 0 => index,
        _ => return Err(Refusal::SignatureMismatch { secrets: asked.source.secret_count() }),
    };
    if let Some(audience) = &asked.source.options().audience
        && let Some(tokens) = Rich::read(asked.request.body)?.needed()
    {
        let tokens: Vec<&str> = tokens.iter().map(AsRef::as_ref).collect();
        jwt::microsoft(&tokens, asked.key, audience, asked.now_unix_seconds)?;
    }
    Ok(index)
}

/// The key set of Microsoft's tokens, where there are some to check.
pub(super) fn wanted(source: &Source, request: &Request<'_>) -> Result<Option<Wanted>, Refusal> {
    if source.options().audience.is_none() || Rich::read(request.body)?.needed().is_none_or(<[_]>::is_empty) {
        return Ok(None);
    }
    Ok(Some(Wanted::at(jwt::MICROSOFT_KEYS.to_owned())))
}

pub(super) fn check_options(options: &Options) -> Result<(), (&'static str, String)> {
    match &options.audience {
        None if options.keys.is_some() => Err((
            "keys",
            "are those of tokens, which are checked for an audience; give the app's id as audience".into(),
        )),
        None => Ok(()),
        Some(audience) if audience.is_empty() || !audience.bytes().all(|b| b.is_ascii_graphic()) => {
            Err(("audience", "must be the id of the app that the subscription belongs to".into()))
        }
        Some(_) => jwt::check_pinned(options.keys.as_deref()),
    }
}

/// What a request with resource data has more than one without.
#[derive(Deserialize)]
struct Rich<'a> {
    #[serde(borrow, default, rename = "validationTokens")]
    tokens: Vec<Cow<'a, str>>,
    value: Vec<RichItem>,
}

#[derive(Deserialize)]
struct RichItem {
    #[serde(default, rename = "encryptedContent")]
    encrypted: Option<IgnoredAny>,
}

impl<'a> Rich<'a> {
    fn read(body: &'a [u8]) -> Result<Self, Refusal> {
        serde_json::from_slice(body).map_err(|_| Refusal::BodyMalformed {
            expected: "a JSON object with a list `value` of notifications, and validationTokens where there is resource data",
        })
    }

    /// The tokens, where some are there or should be.
    fn needed(&self) -> Option<&[Cow<'a, str>]> {
        let has_data = self.value.iter().any(|item| item.encrypted.is_some());
        (has_data || !self.tokens.is_empty()).then_some(&*self.tokens)
    }
}

/// What the items carry. Nothing of them is kept, so that memory does not grow with the body.
#[derive(Default)]
struct Found {
    items: usize,
    /// Items without a `clientState`.
    without: usize,
    /// Items with one that is no secret of the source.
    mismatched: usize,
    last: Option<usize>,
}

/// Where in the body.
#[derive(Clone, Copy)]
enum Of {
    Body,
    Items,
    Item,
    State,
}

struct Level<'a> {
    source: &'a Source,
    found: &'a mut Found,
    of: Of,
}

impl Level<'_> {
    fn below(&mut self, of: Of) -> Level<'_> {
        Level { source: self.source, found: self.found, of }
    }
}

impl<'de> DeserializeSeed<'de> for Level<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.of {
            Of::Body | Of::Item => deserializer.deserialize_map(self),
            Of::Items => deserializer.deserialize_seq(self),
            Of::State => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Level<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("change notifications")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<(), A::Error> {
        let (name, of) = match self.of {
            Of::Body => ("value", Of::Items),
            Of::Item => ("clientState", Of::State),
            Of::Items | Of::State => return Err(A::Error::custom("an object")),
        };
        let mut seen = false;
        while let Some(member) = members.next_key::<String>()? {
            if member != name {
                members.next_value::<IgnoredAny>()?;
            } else if seen {
                // Which of two counts differs between parsers.
                return Err(A::Error::custom("a member that is there twice"));
            } else {
                seen = true;
                members.next_value_seed(self.below(of))?;
            }
        }
        self.found.without += usize::from(matches!(self.of, Of::Item) && !seen);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        if !matches!(self.of, Of::Items) {
            return Err(A::Error::custom("a list"));
        }
        while items.next_element_seed(self.below(Of::Item))?.is_some() {
            self.found.items += 1;
        }
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.found.without += 1;
        Ok(())
    }

    fn visit_str<E>(self, state: &str) -> Result<(), E> {
        match self.source.keys().position(|key| same_token(state.as_bytes(), key)) {
            Some(index) => self.found.last = self.found.last.max(Some(index)),
            None if state.is_empty() => self.found.without += 1,
            None => self.found.mismatched += 1,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::code::testdata::{KEY_SET, token};
    use crate::{Headers, Request, Source, verify, verify_with, wanted};
    use serde_json::{Value, json};

    #[test]
    fn with_an_audience_resource_data_needs_microsofts_tokens() {
        const NOW: i64 = 1_790_000_000;
        const TENANT: &str = "84bd8158-6d4d-4958-8b9f-9d6445542f95";
        let source = |more: Value| {
            let mut document = json!({"scheme": "microsoft-graph", "secrets": ["new"], "audience": "app-1"});
            document.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            Source::from_secret(document.to_string().as_bytes())
        };
        let good = token(&json!({
            "iss": format!("https://sts.windows.net/{TENANT}/"), "aud": "app-1", "exp": NOW + 60, "tid": TENANT,
            "appid": "0bf30f3b-4a52-48df-9a82-234910c0a086",
        }));
        let other = token(&json!({"iss": "https://sts.windows.net/", "aud": "app-1", "exp": NOW + 60}));
        let rich = |tokens: Value| {
            json!({"value": [{"clientState": "new", "encryptedContent": {"data": "AA=="}}], "validationTokens": tokens})
                .to_string()
        };
        let plain = r#"{"value":[{"clientState":"new"}]}"#.to_owned();
        let listening = source(json!({})).expect("a source");
        // (body, whether keys are wanted, verdict)
        for (body, wants, expected) in [
            (plain, false, Ok(0)),
            (rich(json!([good])), true, Ok(0)),
            (rich(json!([good, other])), true, Err("CLAIM_MISMATCH")),
            (rich(json!([])), false, Err("SIGNATURE_MISSING")),
            (rich(json!("x")), false, Err("BODY_MALFORMED")),
        ] {
            let request =
                Request { method: "POST", url: None, query: "", headers: Headers::default(), body: body.as_bytes() };
            let asked = wanted(&listening, &request);
            assert_eq!(asked.is_ok_and(|wanted| wanted.is_some()), wants, "{body}");
            let verdict = verify_with(&listening, &request, Some(KEY_SET.as_bytes()), NOW);
            assert_eq!(verdict.map(|verified| verified.secret_index()).map_err(|r| r.code()), expected, "{body}");
        }
        for (more, words) in [
            (json!({"audience": ""}), "the id of the app"),
            (json!({"audience": null, "keys": KEY_SET}), "audience"),
            (json!({"keys": "no keys"}), "keys"),
        ] {
            let problem = source(more.clone()).expect_err("refused").to_string();
            assert!(problem.contains(words), "{more}: {problem}");
        }
    }

    fn outcome(body: &str) -> Result<usize, &'static str> {
        let source = Source::from_secret(br#"{"scheme":"microsoft-graph","secrets":["new","old"]}"#).expect("a source");
        let request =
            Request { method: "POST", url: None, query: "", headers: Headers::default(), body: body.as_bytes() };
        verify(&source, &request, 0).map(|verified| verified.secret_index()).map_err(|refusal| refusal.code())
    }

    #[test]
    fn every_notification_must_carry_a_live_state() {
        for (body, expected) in [
            (r#"{"value":[{"clientState":"new","changeType":"created"}]}"#, Ok(0)),
            (r#"{"value":[{"clientState":"old"}]}"#, Ok(1)),
            (r#"{"value":[{"clientState":"old"},{"clientState":"new"}]}"#, Ok(1)),
            (r#"{"value":[{"x":{"clientState":"bad"},"clientState":"new"}],"validationTokens":["a.b.c"]}"#, Ok(0)),
            (r#"{"value":[{"clientState":"\u006eew"}]}"#, Ok(0)),
            (r#"{"value":[{"clientState":"new"},{"clientState":"bad"}]}"#, Err("SIGNATURE_MISMATCH")),
            (r#"{"value":[{"clientState":"New"}]}"#, Err("SIGNATURE_MISMATCH")),
            (r#"{"value":[{"clientState":"new "}]}"#, Err("SIGNATURE_MISMATCH")),
            (r#"{"value":[{"clientState":"new"},{}]}"#, Err("SIGNATURE_MISSING")),
            (r#"{"value":[{},{"clientState":"bad"}]}"#, Err("SIGNATURE_MISSING")),
            (r#"{"value":[{"clientState":""}]}"#, Err("SIGNATURE_MISSING")),
            (r#"{"value":[{"clientState":null}]}"#, Err("SIGNATURE_MISSING")),
            (r#"{"value":[{"x":{"clientState":"new"}}]}"#, Err("SIGNATURE_MISSING")),
            (r#"{"value":[{"ClientState":"new"}]}"#, Err("SIGNATURE_MISSING")),
        ] {
            assert_eq!(outcome(body), expected, "{body}");
        }
    }

    #[test]
    fn what_is_no_list_of_notifications_is_refused() {
        for body in [
            "",
            "no",
            "[]",
            "{}",
            r#""new""#,
            r#"{"value":[]}"#,
            r#"{"value":{"clientState":"new"}}"#,
            r#"{"value":"new"}"#,
            r#"{"value":null}"#,
            r#"{"value":["new"]}"#,
            r#"{"value":[["new"]]}"#,
            r#"[[["new"]]]"#,
            r#"{"value":[{"clientState":7}]}"#,
            r#"{"value":[{"clientState":["new"]}]}"#,
            r#"{"value":[{"clientState":{"clientState":"new"}}]}"#,
            r#"{"value":[{"clientState":"bad","clientState":"new"}]}"#,
            r#"{"value":[{"clientState":"bad"}],"value":[{"clientState":"new"}]}"#,
            r#"{"value":[{"clientState":"new"}]}x"#,
            r#"{"value":[{"clientState":"new"}]"#,
            r#"{"value":[{"clientState":"new"},]}"#,
        ] {
            assert_eq!(outcome(body), Err("BODY_MALFORMED"), "{body}");
        }
        let deep = format!("{{\"value\":{}", "[".repeat(1 << 20));
        assert_eq!(outcome(&deep), Err("BODY_MALFORMED"));
        let deep = format!("{{\"value\":[{{\"a\":{}", "[".repeat(1 << 20));
        assert_eq!(outcome(&deep), Err("BODY_MALFORMED"));
    }
}
