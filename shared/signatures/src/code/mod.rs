//! Schemes that no row of the table can say: each a module that checks a request and, where anybody but the provider can, signs one.

mod address;
mod certificate;
mod form;
mod graph;
mod hubspot;
mod jwt;
mod mailgun;
mod paypal;
mod pubsub;
mod rsa;
pub(crate) mod salesforce;
pub(crate) mod sns;
#[cfg(test)]
pub(crate) mod testdata;
mod twilio;
mod xml;

pub(crate) use form::decode as form_decoded;

use std::borrow::Cow;

use crate::refusal::Refusal;
use crate::request::Request;
use crate::sign::{Outgoing, SignError};
use crate::source::{Options, Source};
use crate::verify::Wanted;

/// A scheme that is code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    Twilio,
    HubSpot,
    Mailgun,
    Graph,
    Salesforce,
    Sns,
    PayPal,
    PubSub,
}

/// What there is to check a request with.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) source: &'a Source,
    pub(crate) request: &'a Request<'a>,
    /// The document at [`Wanted::url`], or the one pinned in the source.
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) now_unix_seconds: i64,
}

impl<'a> Asked<'a> {
    /// The public URL that the sender was given, with the query that it was called with: the source's own, else the deployment's.
    pub(crate) fn url(&self) -> Result<Cow<'a, str>, Refusal> {
        match (&self.source.options().url, self.request.query) {
            (Some(url), "") => Ok(Cow::Borrowed(url.as_str())),
            (Some(url), query) => Ok(Cow::Owned(format!("{url}?{query}"))),
            (None, _) => self.request.url.map(Cow::Borrowed).ok_or(Refusal::UrlUnknown),
        }
    }

    /// The one value of a header; absent is `None`.
    pub(crate) fn header(&self, name: &str) -> Result<Option<&'a [u8]>, Refusal> {
        self.request.headers.one(name).map_err(|_| Refusal::HeaderDuplicated { header: name.to_owned() })
    }
}

impl Code {
    /// Which of the source's secrets the request is good for, from 0.
    pub(crate) fn verify(self, asked: &Asked<'_>) -> Result<usize, Refusal> {
        match self {
            Self::Twilio => twilio::verify(asked),
            Self::HubSpot => hubspot::verify(asked),
            Self::Mailgun => mailgun::verify(asked),
            Self::Graph => graph::verify(asked),
            Self::Salesforce => salesforce::verify(asked),
            Self::Sns => sns::verify(asked),
            Self::PayPal => paypal::verify(asked),
            Self::PubSub => pubsub::verify(asked),
        }
    }

    /// The document that must be fetched before [`Code::verify`], if the scheme has one. Its address follows the provider's rule.
    pub(crate) fn wanted(self, source: &Source, request: &Request<'_>) -> Result<Option<Wanted>, Refusal> {
        match self {
            Self::Sns => sns::wanted(request).map(Some),
            Self::PayPal => paypal::wanted(request).map(Some),
            Self::PubSub => pubsub::wanted(request).map(Some),
            Self::Graph => graph::wanted(source, request),
            Self::Twilio | Self::HubSpot | Self::Mailgun | Self::Salesforce => Ok(None),
        }
    }

    /// What a request of the provider's would carry.
    pub(crate) fn sign(
        self,
        source: &Source,
        delivery: &Outgoing<'_>,
        now_unix_seconds: i64,
    ) -> Result<Vec<(String, String)>, SignError> {
        match self {
            Self::Twilio => twilio::sign(source, delivery),
            Self::HubSpot => hubspot::sign(source, delivery, now_unix_seconds),
            // Their proof is in the body, which is the caller's.
            Self::Mailgun | Self::Graph | Self::Salesforce => Ok(Vec::new()),
            Self::Sns | Self::PayPal | Self::PubSub => Err(SignError::OnlyTheProvider),
        }
    }

    /// The key that a secret's text stands for, or what is wrong with it and what to do.
    pub(crate) fn key(self, text: &str) -> Result<Vec<u8>, &'static str> {
        match self {
            Self::Sns => sns::topic(text),
            Self::Salesforce => salesforce::organization(text),
            Self::PubSub => pubsub::account(text),
            Self::PayPal => paypal::webhook(text),
            Self::Twilio | Self::HubSpot | Self::Mailgun | Self::Graph => Ok(text.as_bytes().to_vec()),
        }
    }

    /// Refuses options that the scheme does not have or that cannot work: the option, and what is wrong with it and what to do.
    pub(crate) fn check_options(self, options: &Options) -> Result<(), (&'static str, String)> {
        let has_key = matches!(self, Self::Sns | Self::PayPal | Self::PubSub | Self::Graph);
        if options.keys.is_some() && !has_key {
            return Err(("keys", "means nothing for this scheme, which has no public key; remove it".into()));
        }
        match self {
            Self::PubSub => pubsub::check_options(options),
            Self::Graph => graph::check_options(options),
            _ if options.audience.is_some() => {
                Err(("audience", "means nothing for this scheme, which has no token with one; remove it".into()))
            }
            Self::Sns => sns::check_options(options),
            Self::PayPal => paypal::check_options(options),
            _ => Ok(()),
        }
    }

    /// Whether a source may set a window of its own.
    pub(crate) const fn has_window(self) -> bool {
        matches!(self, Self::HubSpot | Self::Mailgun)
    }

    pub(crate) const fn signs_body(self) -> bool {
        match self {
            Self::Twilio | Self::HubSpot | Self::Sns | Self::PayPal => true,
            Self::Mailgun | Self::Graph | Self::Salesforce | Self::PubSub => false,
        }
    }

    pub(crate) const fn secret_is(self) -> &'static str {
        match self {
            Self::Twilio => "the account's auth token, or a shared key for signatures",
            Self::HubSpot => "the app's client secret",
            Self::Mailgun => "the webhook signing key",
            Self::Graph => "the subscription's clientState",
            Self::Salesforce => "the organization's id, 15 or 18 characters beginning with 00D",
            Self::Sns => "the topic's ARN",
            Self::PayPal => "the webhook's id, as the developer dashboard shows it",
            Self::PubSub => "the e-mail address of the push subscription's service account",
        }
    }
}
