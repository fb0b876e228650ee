//! Salesforce outbound messages: SOAP without a signature. What there is to go by is the organization's id in the body; the address of the
//! source must be kept secret, and a client certificate or Salesforce's address ranges belong in front of it.
//! <https://developer.salesforce.com/docs/atlas.en-us.api.meta/api/sforce_api_om_outboundmessaging.htm>
//!
//! The body can carry a live session id. Events are made of what is read here, and it is not among that.

use quick_xml::Reader;
use quick_xml::events::Event;
use serde_json::{Map, Value, json};

use super::Asked;
use crate::mac::same_token;
use crate::refusal::Refusal;

const EXPECTED: &str = "a SOAP message with notifications";

/// Elements within each other, and notifications in one message; Salesforce sends up to 100.
const MAX_DEPTH: usize = 16;
const MAX_NOTIFICATIONS: usize = 1000;

/// What one message says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    organization: String,
    action: String,
    notifications: Vec<Notification>,
}

/// One changed object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Notification {
    /// The notification's id, the same when it is sent again.
    pub(crate) id: String,
    /// `Account`, `Contact`, …
    pub(crate) object: String,
    fields: Map<String, Value>,
}

impl Message {
    /// Reads a message. Nothing for what is none, and for a document type: there are no entities to expand here.
    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        let mut reader = Reader::from_str(std::str::from_utf8(body).ok()?);
        reader.config_mut().check_end_names = true;
        let mut message = Self::default();
        let mut path: Vec<String> = Vec::new();
        let mut text = String::new();
        loop {
            match reader.read_event().ok()? {
                Event::Start(start) => {
                    let name = start.local_name().as_ref().to_owned();
                    if path.len() >= MAX_DEPTH {
                        return None;
                    }
                    if path.last().is_some_and(|parent| parent == "notifications") && name == "Notification" {
                        message.notifications.push(Notification::default());
                    }
                    if path.last().is_some_and(|parent| parent == "Notification") && name == "sObject" {
                        for attribute in start.attributes() {
                            let attribute = attribute.ok()?;
                            if attribute.key.local_name().as_ref() == "type" {
                                let value = attribute.value.into_owned();
                                let object = value.rsplit(':').next().unwrap_or_default().to_owned();
                                message.notifications.last_mut()?.object = object;
                            }
                        }
                    }
                    path.push(name);
                    text.clear();
                }
                Event::Empty(empty) => {
                    path.push(empty.local_name().as_ref().to_owned());
                    message.put(&path, None)?;
                    path.pop();
                }
                Event::End(_) => {
                    message.put(&path, Some(&text))?;
                    path.pop()?;
                    text.clear();
                }
                Event::Text(part) => text.push_str(&part),
                Event::CData(part) => text.push_str(&part),
                Event::GeneralRef(entity) => text.push(character(&entity)?),
                Event::DocType(_) => return None,
                Event::Decl(_) | Event::PI(_) | Event::Comment(_) => {}
                Event::Eof => break,
            }
        }
        let known = !message.organization.is_empty() && !message.notifications.is_empty();
        (path.is_empty() && known && message.notifications.len() <= MAX_NOTIFICATIONS).then_some(message)
    }

    fn put(&mut self, path: &[String], text: Option<&str>) -> Option<()> {
        let [.., parent, name] = path else { return Some(()) };
        let value = text.unwrap_or_default();
        match (parent.as_str(), name.as_str()) {
            ("notifications", "OrganizationId") => self.organization = value.trim().to_owned(),
            ("notifications", "ActionId") => self.action = value.trim().to_owned(),
            ("Notification", "Id") => self.notifications.last_mut()?.id = value.trim().to_owned(),
            ("sObject", field) => {
                let fields = &mut self.notifications.last_mut()?.fields;
                let value = text.map_or(Value::Null, |text| Value::String(text.to_owned()));
                match fields.get_mut(field) {
                    None => drop(fields.insert(field.to_owned(), value)),
                    Some(Value::Array(several)) => several.push(value),
                    Some(one) => *one = Value::Array(vec![one.take(), value]),
                }
            }
            // Among them the session id.
            _ => {}
        }
        Some(())
    }

    /// The notifications.
    pub(crate) fn notifications(&self) -> &[Notification] {
        &self.notifications
    }

    /// The body of a notification's event.
    pub(crate) fn body(&self, notification: &Notification) -> Vec<u8> {
        let body = json!({
            "organization_id": self.organization,
            "action_id": self.action,
            "id": notification.id,
            "type": notification.object,
            "fields": notification.fields,
        });
        body.to_string().into_bytes()
    }
}

/// The five entities of XML and characters by their number (XML 1.0 sections 4.1 and 4.6).
fn character(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let number = name.strip_prefix('#')?;
            let number = match number.strip_prefix('x') {
                Some(digits) => u32::from_str_radix(digits, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(number)
        }
    }
}

pub(super) fn verify(asked: &Asked<'_>) -> Result<usize, Refusal> {
    let message = Message::read(asked.request.body).ok_or(Refusal::BodyMalformed { expected: EXPECTED })?;
    let good = |key: &[u8]| same_organization(message.organization.as_bytes(), key);
    let listed = asked.source.secret_count();
    asked
        .source
        .keys()
        .position(good)
        .ok_or_else(|| Refusal::SenderNotListed { place: "OrganizationId".into(), listed })
}

/// Whether two spellings are of one organization: the last three of 18 characters are a check on the case of the 15 before.
fn same_organization(received: &[u8], listed: &[u8]) -> bool {
    match (received.len(), listed.len()) {
        (15, 18) | (18, 15) => same_token(&received[..15], &listed[..15]),
        (15 | 18, _) => same_token(received, listed),
        _ => false,
    }
}

/// An organization's id.
pub(super) fn organization(text: &str) -> Result<Vec<u8>, &'static str> {
    let known =
        text.starts_with("00D") && matches!(text.len(), 15 | 18) && text.bytes().all(|b| b.is_ascii_alphanumeric());
    if known {
        Ok(text.as_bytes().to_vec())
    } else {
        Err("is not an organization's id: 15 or 18 letters and digits that begin with 00D")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
 <soapenv:Body><notifications xmlns="http://soap.sforce.com/2005/09/outbound">
  <OrganizationId>00D000000000062EAA</OrganizationId><ActionId>04k000000000001AAA</ActionId>
  <SessionId>00D!live-session</SessionId><EnterpriseUrl>https://e.example</EnterpriseUrl>
  <Notification><Id>04l000000000001AAA</Id><sObject xsi:type="sf:Account" xmlns:sf="urn:sobject.enterprise.soap.sforce.com">
   <sf:Id>001000000000001AAA</sf:Id><sf:Name>A &amp; <![CDATA[<B>]]> &#xe9;</sf:Name><sf:Fax/></sObject></Notification>
  <Notification><Id>04l000000000002AAA</Id><sObject xsi:type="sf:Contact"><sf:Tag>x</sf:Tag><sf:Tag>y</sf:Tag></sObject></Notification>
 </notifications></soapenv:Body></soapenv:Envelope>"#;

    #[test]
    fn a_message_is_its_notifications_without_the_session() {
        let message = Message::read(TWO.as_bytes()).expect("a message");
        let bodies: Vec<Value> = message
            .notifications()
            .iter()
            .map(|notification| serde_json::from_slice(&message.body(notification)).expect("JSON"))
            .collect();
        assert_eq!(
            bodies,
            [
                json!({"organization_id": "00D000000000062EAA", "action_id": "04k000000000001AAA", "id": "04l000000000001AAA",
                    "type": "Account", "fields": {"Id": "001000000000001AAA", "Name": "A & <B> é", "Fax": null}}),
                json!({"organization_id": "00D000000000062EAA", "action_id": "04k000000000001AAA", "id": "04l000000000002AAA",
                    "type": "Contact", "fields": {"Tag": ["x", "y"]}}),
            ]
        );
        assert!(!format!("{message:?}").contains("live-session"));
    }

    #[test]
    fn what_is_no_message_is_nothing_wherever_it_ends() {
        for end in 0..TWO.len() - 1 {
            if TWO.is_char_boundary(end) {
                assert_eq!(Message::read(&TWO.as_bytes()[..end]), None, "{end}");
            }
        }
        let entities = TWO.replace("<soapenv:Envelope", "<!DOCTYPE x [<!ENTITY a \"aaaa\">]><soapenv:Envelope");
        assert_eq!(Message::read(entities.as_bytes()), None);
        assert_eq!(Message::read(TWO.replace("&amp;", "&a;").as_bytes()), None);
        assert_eq!(Message::read("<a>".repeat(10_000).as_bytes()), None);
    }

    #[test]
    fn fifteen_and_eighteen_characters_are_one_organization() {
        for (received, listed, same) in [
            ("00D000000000062EAA", "00D000000000062", true),
            ("00D000000000062", "00D000000000062EAA", true),
            ("00D000000000062EAA", "00D000000000062EAA", true),
            ("00D000000000063EAA", "00D000000000062", false),
            ("00d000000000062", "00D000000000062", false),
            ("", "00D000000000062", false),
        ] {
            assert_eq!(same_organization(received.as_bytes(), listed.as_bytes()), same, "{received} {listed}");
        }
    }
}
