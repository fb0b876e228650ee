//! Salesforce outbound messages: SOAP, and not signed
//! (<https://developer.salesforce.com/docs/atlas.en-us.api.meta/api/sforce_api_om_outboundmessaging_wsdl.htm>).
//!
//! All that ties a message to its sender is the organization's id, which is no secret: it is in every URL and record of the organization. Put
//! something in front that knows Salesforce's client certificate or addresses, or do nothing with the message that matters.
//!
//! An id has 15 characters that differ by case, or 18: the same and a checksum of the case. Both forms are one organization.
//!
//! A message may hold a live session of the user it is sent as. It is never part of a [`Notification`], wherever in the message it is repeated.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use super::Asked;
use super::xml::{Content, Element, Xml, malformed};
use crate::mac::same_token;
use crate::refusal::Refusal;

const SOAP: &str = "http://schemas.xmlsoap.org/soap/envelope/";
const OUTBOUND: &str = "http://soap.sforce.com/2005/09/outbound";

/// `maxOccurs` of `Notification` in the WSDL.
const MAX_NOTIFICATIONS: usize = 100;

const NOT_A_MESSAGE: &str = "a Salesforce outbound message: a SOAP envelope with one `notifications` of the namespace http://soap.sforce.com/2005/09/outbound, \
     in it OrganizationId, ActionId and 1 to 100 Notification with Id and sObject, each once";

/// A session's secret part is longer than this. What is shorter is not one, and would be found in innocent text.
const MIN_SESSION_BYTES: usize = 15;
const REMOVED: &str = "[session id removed]";

pub(super) fn verify(asked: &Asked<'_>) -> Result<usize, Refusal> {
    let message = Message::read(asked.request.body)?;
    let received = message.organization_id.as_bytes();
    let place = || "OrganizationId in the body".to_owned();
    if !is_id(received) {
        return Err(Refusal::SignatureMalformed {
            header: place(),
            expected: "15 letters and digits, or those and the 3 of their checksum".into(),
        });
    }
    let matching = asked.source.keys().position(|key| same_token(&received[..15], key));
    matching.ok_or_else(|| Refusal::SenderNotListed { place: place(), listed: asked.source.secret_count() })
}

/// The 15 characters that tell organizations apart.
pub(super) fn organization(text: &str) -> Result<Vec<u8>, &'static str> {
    let id = text.as_bytes();
    if !matches!(id.len(), 15 | 18) || !id.iter().all(u8::is_ascii_alphanumeric) {
        return Err(
            "is no organization id, which has 15 or 18 letters and digits; copy it from Setup, Company Information",
        );
    }
    if !id.starts_with(b"00D") {
        return Err(
            "is the id of something else: an organization's begins with 00D; copy it from Setup, Company Information",
        );
    }
    if !is_id(id) {
        return Err(
            "has 18 characters of which the last three are not the checksum of the others, so that one is wrong or in the wrong case; \
             copy it again",
        );
    }
    Ok(id[..15].to_vec())
}

/// Whether it is an id: 15 letters and digits, or 18 of which the last three say which of the others are capitals.
fn is_id(id: &[u8]) -> bool {
    let alphanumeric = id.iter().all(u8::is_ascii_alphanumeric);
    match id.len() {
        15 => alphanumeric,
        18 => alphanumeric && id[15..].eq_ignore_ascii_case(&checksum(&id[..15])),
        _ => false,
    }
}

/// For each five characters one: which of them are capitals, as a number of five bits, the first the lowest.
fn checksum(id: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345";
    let digit = |five: &[u8]| {
        let bits = five.iter().rev().fold(0, |bits, c| bits << 1 | usize::from(c.is_ascii_uppercase()));
        DIGITS[bits % DIGITS.len()]
    };
    id.chunks(5).map(digit).collect()
}

/// One notification of a message.
#[derive(Clone)]
pub(crate) struct Notification {
    organization_id: Arc<str>,
    action_id: Arc<str>,
    enterprise_url: Option<Arc<str>>,
    partner_url: Option<Arc<str>>,
    id: String,
    object_type: Option<String>,
    fields: Fields,
}

impl Notification {
    /// What it is told apart by: the same when it is sent again.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The type of the record, such as `Opportunity`, where the message says it.
    pub(crate) fn object_type(&self) -> Option<&str> {
        self.object_type.as_deref()
    }

    /// The notification as an event's body: compact JSON, `{"organization_id","action_id","enterprise_url","partner_url","id","type",
    /// "fields":{…}}`. The URLs are left out where the message has none. A field is a text, `null` where it is nil, an object where it has
    /// fields, a list where it is repeated; in the order of the message.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts under texts are JSON")
    }
}

impl Serialize for Notification {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("organization_id", &*self.organization_id)?;
        map.serialize_entry("action_id", &*self.action_id)?;
        for (name, url) in [("enterprise_url", &self.enterprise_url), ("partner_url", &self.partner_url)] {
            if let Some(url) = url {
                map.serialize_entry(name, &**url)?;
            }
        }
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("type", &self.object_type)?;
        map.serialize_entry("fields", &self.fields)?;
        map.end()
    }
}

// The fields are a body's.
impl fmt::Debug for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notification").field("id", &self.id).field("type", &self.object_type).finish_non_exhaustive()
    }
}

/// The notifications of a message, in its order: 1 to 100. Memory is a small multiple of the body.
///
/// # Errors
/// When the body is no outbound message. The text repeats nothing of it.
pub(crate) fn notifications(body: &[u8]) -> Result<Vec<Notification>, Refusal> {
    Ok(Message::read(body)?.notifications())
}

/// Fields in the order of the message. No two have one name.
#[derive(Clone)]
struct Fields(Vec<(String, Field)>);

#[derive(Clone)]
enum Field {
    Null,
    Text(String),
    Fields(Fields),
    Repeated(Vec<Field>),
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, field)| (name, field)))
    }
}

impl Serialize for Field {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Fields(fields) => fields.serialize(serializer),
            Self::Repeated(fields) => serializer.collect_seq(fields),
        }
    }
}

impl Fields {
    fn of(elements: Vec<(Element, Content)>, session: &Session) -> Self {
        let mut fields = Vec::<(String, Field)>::new();
        let mut places = HashMap::<String, usize>::new();
        for (element, content) in elements {
            if element.name == "SessionId" {
                continue;
            }
            let field = match content {
                Content::Text(_) if element.nil => Field::Null,
                Content::Text(text) => Field::Text(session.removed(text)),
                Content::Elements(elements) => Field::Fields(Self::of(elements, session)),
            };
            match places.get(&element.name) {
                Some(place) => match &mut fields[*place].1 {
                    Field::Repeated(all) => all.push(field),
                    one => *one = Field::Repeated(vec![std::mem::replace(one, Field::Null), field]),
                },
                None => {
                    places.insert(element.name.clone(), fields.len());
                    fields.push((element.name, field));
                }
            }
        }
        Self(fields)
    }
}

/// The session that a message holds, to keep it out of what is made of the message: a formula field may repeat it.
struct Session(Option<String>);

impl Session {
    fn new(text: Option<&str>) -> Self {
        let text = text.unwrap_or_default();
        // After the organization's id and an exclamation mark comes what is secret. An escaped mark does not hide it.
        let secret = text.split_once('!').map_or(text, |(_, secret)| secret);
        let long_enough = [secret, text].into_iter().find(|text| text.len() >= MIN_SESSION_BYTES);
        Self(long_enough.map(str::to_owned))
    }

    fn removed(&self, text: String) -> String {
        match &self.0 {
            Some(secret) if text.contains(secret.as_str()) => text.replace(secret.as_str(), REMOVED),
            _ => text,
        }
    }
}

/// A message as it was read: the elements, each as often as the WSDL says.
struct Message {
    organization_id: String,
    action_id: String,
    session: Session,
    enterprise_url: Option<String>,
    partner_url: Option<String>,
    notifications: Vec<Item>,
}

/// A `Notification` as it was read.
struct Item {
    id: String,
    object_type: Option<String>,
    fields: Vec<(Element, Content)>,
}

impl Message {
    fn read(body: &[u8]) -> Result<Self, Refusal> {
        let (mut xml, envelope) = Xml::open(body)?;
        if !envelope.is(SOAP, "Envelope") {
            return Err(malformed(NOT_A_MESSAGE));
        }
        let mut soap_body = None;
        xml.each(|xml, element| match &soap_body {
            None if element.is(SOAP, "Header") => xml.skip(),
            None if element.is(SOAP, "Body") => {
                let mut message = None;
                xml.each(|xml, element| match &message {
                    None if element.is(OUTBOUND, "notifications") => once(&mut message, Self::read_notifications(xml)?),
                    _ => Err(malformed(NOT_A_MESSAGE)),
                })?;
                once(&mut soap_body, message)
            }
            _ => Err(malformed(NOT_A_MESSAGE)),
        })?;
        xml.close()?;
        soap_body.flatten().ok_or(malformed(NOT_A_MESSAGE))
    }

    fn read_notifications(xml: &mut Xml<'_>) -> Result<Self, Refusal> {
        let [mut organization_id, mut action_id, mut session, mut enterprise_url, mut partner_url] =
            [const { None }; 5];
        let mut notifications = Vec::new();
        xml.each(|xml, element| {
            let text = match element.name.as_str() {
                _ if !element.is(OUTBOUND, &element.name) => return xml.skip(),
                "OrganizationId" => &mut organization_id,
                "ActionId" => &mut action_id,
                "SessionId" => &mut session,
                "EnterpriseUrl" => &mut enterprise_url,
                "PartnerUrl" => &mut partner_url,
                "Notification" if notifications.len() < MAX_NOTIFICATIONS => {
                    notifications.push(Self::read_notification(xml)?);
                    return Ok(());
                }
                "Notification" => return Err(malformed(NOT_A_MESSAGE)),
                _ => return xml.skip(),
            };
            once(text, xml.text()?.trim().to_owned())
        })?;
        if notifications.is_empty() {
            return Err(malformed(NOT_A_MESSAGE));
        }
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let place = || "OrganizationId in the body".to_owned();
        Ok(Self {
            organization_id: given(organization_id).ok_or_else(|| Refusal::SignatureMissing { place: place() })?,
            action_id: action_id.filter(|id| is_id(id.as_bytes())).ok_or(malformed(NOT_A_MESSAGE))?,
            session: Session::new(session.as_deref()),
            enterprise_url: given(enterprise_url),
            partner_url: given(partner_url),
            notifications,
        })
    }

    fn read_notification(xml: &mut Xml<'_>) -> Result<Item, Refusal> {
        let (mut id, mut object) = (None, None);
        xml.each(|xml, element| {
            if element.is(OUTBOUND, "Id") {
                once(&mut id, xml.text()?.trim().to_owned())
            } else if element.is(OUTBOUND, "sObject") {
                let fields = match xml.content()? {
                    Content::Elements(fields) => fields,
                    Content::Text(text) if text.trim().is_empty() => Vec::new(),
                    Content::Text(_) => return Err(malformed(NOT_A_MESSAGE)),
                };
                once(&mut object, (element.type_name, fields))
            } else {
                xml.skip()
            }
        })?;
        match (id, object) {
            // It names an event: another form would be another event, or could hold anything.
            (Some(id), Some((object_type, fields))) if is_id(id.as_bytes()) => Ok(Item { id, object_type, fields }),
            _ => Err(malformed(NOT_A_MESSAGE)),
        }
    }

    fn notifications(self) -> Vec<Notification> {
        let session = self.session;
        let shared = |text: String| Arc::<str>::from(session.removed(text));
        let organization_id = shared(self.organization_id);
        let action_id = shared(self.action_id);
        let [enterprise_url, partner_url] = [self.enterprise_url, self.partner_url].map(|url| url.map(shared));
        let each = self.notifications.into_iter().map(|item| Notification {
            organization_id: Arc::clone(&organization_id),
            action_id: Arc::clone(&action_id),
            enterprise_url: enterprise_url.clone(),
            partner_url: partner_url.clone(),
            id: item.id,
            object_type: item.object_type,
            fields: Fields::of(item.fields, &session),
        });
        each.collect()
    }
}

fn once<T>(place: &mut Option<T>, value: T) -> Result<(), Refusal> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(malformed(NOT_A_MESSAGE)),
    }
}

#[cfg(test)]
#[path = "salesforce_tests.rs"]
mod tests;
