//! The rows: one for each scheme. A new provider of these families is a new row here and nothing else.

use super::{Check, Entry, HmacRow, IdentityRow, Place, TimestampPlace, TimestampRow, TokenPlace};
use crate::code::Code;
use crate::handshake::Handshake;
use crate::mac::{Algorithm, Encoding};
use crate::options::{DEFAULT_TOLERANCE_S, SecretEncoding};
use crate::public_key::PublicKey;
use crate::receive::Batch;
use crate::timestamp::TimestampUnit;

/// The most common form, to begin a row with: HMAC-SHA256 of the body under the text of the secret, in hexadecimal, alone in the header.
const fn hex_of_body(header: &'static str) -> HmacRow<'static> {
    HmacRow {
        header,
        separator: None,
        prefix: "",
        prefix_optional: false,
        encoding: Encoding::Hex,
        algorithm: Algorithm::Sha256,
        public_key: None,
        public_prefix: None,
        secret_encoding: SecretEncoding::Utf8,
        signed: "{body}",
        timestamp: None,
        id_header: None,
    }
}

const fn seconds(place: TimestampPlace<'static>) -> Option<TimestampRow<'static>> {
    Some(TimestampRow { place, unit: TimestampUnit::Seconds, tolerance_s: Some(DEFAULT_TOLERANCE_S) })
}

const fn header(name: &'static str) -> [Option<Place<'static>>; 2] {
    [Some(Place::Header(name)), None]
}

const fn body(pointer: &'static str) -> [Option<Place<'static>>; 2] {
    [Some(Place::Body(pointer)), None]
}

const fn body_or(pointer: &'static str, other: &'static str) -> [Option<Place<'static>>; 2] {
    [Some(Place::Body(pointer)), Some(Place::Body(other))]
}

const NOWHERE: [Option<Place<'static>>; 2] = [None, None];

const fn base64_of_body(header: &'static str) -> HmacRow<'static> {
    HmacRow { encoding: Encoding::Base64, ..hex_of_body(header) }
}

/// Standard Webhooks, under these headers.
const fn standard(id: &'static str, timestamp: &'static str, signature: &'static str) -> HmacRow<'static> {
    HmacRow {
        separator: Some(' '),
        prefix: "v1,",
        public_prefix: Some("v1a,"),
        secret_encoding: SecretEncoding::Whsec,
        signed: "{id}.{timestamp}.{body}",
        timestamp: seconds(TimestampPlace::Header(timestamp)),
        id_header: Some(id),
        ..base64_of_body(signature)
    }
}

const fn within(
    tolerance_s: u32,
    place: TimestampPlace<'static>,
    unit: TimestampUnit,
) -> Option<TimestampRow<'static>> {
    Some(TimestampRow { place, unit, tolerance_s: Some(tolerance_s) })
}

/// A timestamp whose window the provider does not state.
const fn unstated(place: TimestampPlace<'static>, unit: TimestampUnit) -> Option<TimestampRow<'static>> {
    Some(TimestampRow { place, unit, tolerance_s: None })
}

const fn header_or(name: &'static str, other: &'static str) -> [Option<Place<'static>>; 2] {
    [Some(Place::Header(name)), Some(Place::Header(other))]
}

const fn body_or_header(pointer: &'static str, name: &'static str) -> [Option<Place<'static>>; 2] {
    [Some(Place::Body(pointer)), Some(Place::Header(name))]
}

const fn header_or_body(name: &'static str, pointer: &'static str) -> [Option<Place<'static>>; 2] {
    [Some(Place::Header(name)), Some(Place::Body(pointer))]
}

pub(super) static TABLE: &[Entry] = &[
    // https://docs.stripe.com/webhooks#verify-manually. The whole secret is the key, `whsec_` included.
    Entry {
        name: "stripe",
        summary: "Stripe: Stripe-Signature, HMAC-SHA256 of timestamp and body",
        check: Check::Hmac(&[HmacRow {
            separator: Some(','),
            prefix: "v1=",
            signed: "{timestamp}.{body}",
            timestamp: seconds(TimestampPlace::Element("t=")),
            ..hex_of_body("Stripe-Signature")
        }]),
        identity: IdentityRow { delivery: body("/id"), event_type: body("/type"), type_suffix: None },
        handshake: Handshake::None,
        batch: Batch::One,
        kept: &[],
    },
    // https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries. The older X-Hub-Signature is SHA-1 and not read.
    Entry {
        name: "github",
        summary: "GitHub: X-Hub-Signature-256, HMAC-SHA256 of the body",
        check: Check::Hmac(&[HmacRow { prefix: "sha256=", ..hex_of_body("X-Hub-Signature-256") }]),
        identity: IdentityRow {
            delivery: header("X-GitHub-Delivery"),
            event_type: header("X-GitHub-Event"),
            type_suffix: Some("/action"),
        },
        handshake: Handshake::None,
        batch: Batch::One,
        kept: &[
            "X-GitHub-Event",
            "X-GitHub-Delivery",
            "X-GitHub-Hook-ID",
            "X-GitHub-Hook-Installation-Target-ID",
            "X-GitHub-Hook-Installation-Target-Type",
        ],
    },
    // The body is {event, timestamp, data} and has no id of its own. Some senders write sha256= before the digits, most do not.
    Entry {
        name: "openclaw",
        summary: "OpenClaw webhooks: X-OpenClaw-Signature, HMAC-SHA256 of the body",
        check: Check::Hmac(&[HmacRow {
            prefix: "sha256=",
            prefix_optional: true,
            ..hex_of_body("X-OpenClaw-Signature")
        }]),
        identity: IdentityRow { delivery: NOWHERE, event_type: body("/event"), type_suffix: None },
        handshake: Handshake::None,
        batch: Batch::One,
        kept: &[],
    },
    // https://docs.openclaw.ai/automation/cron-jobs: cron webhooks carry the configured token and no signature.
    Entry {
        name: "openclaw-token",
        summary: "OpenClaw cron webhooks: a shared token in Authorization: Bearer or x-openclaw-token; the body is not signed",
        check: Check::Token(&[
            TokenPlace { header: "x-openclaw-token", prefix: "" },
            TokenPlace { header: "Authorization", prefix: "Bearer " },
        ]),
        identity: IdentityRow { delivery: NOWHERE, event_type: body_or("/event", "/action"), type_suffix: None },
        handshake: Handshake::None,
        batch: Batch::One,
        kept: &[],
    },
    Entry {
        name: "byterover",
        summary: "ByteRover: x-byterover-signature, HMAC-SHA256 of the body",
        check: Check::Hmac(&[hex_of_body("x-byterover-signature")]),
        identity: IdentityRow {
            delivery: body_or("/id", "/event_id"),
            event_type: body_or("/type", "/event"),
            type_suffix: None,
        },
        handshake: Handshake::None,
        batch: Batch::One,
        kept: &[],
    },
    // https://github.com/standard-webhooks/standard-webhooks, specification 1.0.0, "Signature scheme" and "Webhook headers"
    Entry {
        name: "standard-webhooks",
        summary: "Standard Webhooks: webhook-signature, v1 with a whsec_ secret or v1a with a whpk_ key",
        check: Check::Hmac(&[standard("webhook-id", "webhook-timestamp", "webhook-signature")]),
        identity: IdentityRow { delivery: header("webhook-id"), event_type: body("/type"), type_suffix: None },
        handshake: Handshake::None,
        batch: Batch::One,
        kept: &["webhook-id", "webhook-timestamp"],
    },
    // https://docs.svix.com/receiving/verifying-payloads/how-manual
    Entry {
        name: "svix",
        summary: "Svix: svix-signature or webhook-signature, as Standard Webhooks",
        check: Check::Hmac(&[
            standard("svix-id", "svix-timestamp", "svix-signature"),
            standard("webhook-id", "webhook-timestamp", "webhook-signature"),
        ]),
        identity: IdentityRow {
            delivery: header_or("svix-id", "webhook-id"),
            event_type: body("/type"),
            type_suffix: None,
        },
        handshake: Handshake::None,
        batch: Batch::One,
        kept: &["svix-id", "svix-timestamp", "webhook-id", "webhook-timestamp"],
    },
    // https://platform.openai.com/docs/guides/webhooks
    Entry {
        name: "openai",
        summary: "OpenAI: as Standard Webhooks; the secret may be plain text",
        check: Check::Hmac(&[HmacRow {
            secret_encoding: SecretEncoding::WhsecOrText,
            ..standard("webhook-id", "webhook-timestamp", "webhook-signature")
        }]),
        identity: IdentityRow { delivery: header("webhook-id"), event_type: body("/type"), type_suffix: None },
        handshake: Handshake::None,
        batch: Batch::One,
        kept: &["webhook-id", "webhook-timestamp"],
    },
    // https://platform.claude.com/docs/en/manage-claude/webhooks
    Entry {
        name: "anthropic",
        summary: "Anthropic: as Standard Webhooks",
        check: Check::Hmac(&[standard("webhook-id", "webhook-timestamp", "webhook-signature")]),
        identity: IdentityRow {
            delivery: body_or_header("/id", "webhook-id"),
            event_type: body_or("/data/type", "/type"),
            type_suffix: None,
        },
        handshake: Handshake::None,
        batch: Batch::One,
        kept: &["webhook-id", "webhook-timestamp"],
    },
    // https://docs.gitlab.com/user/project/integrations/webhooks/
    Entry {
        name: "gitlab",
        summary: "GitLab with a signing token: as Standard Webhooks",
        check: Check::Hmac(&[standard("webhook-id", "webhook-timestamp", "webhook-signature")]),
        identity: IdentityRow {
            delivery: header("webhook-id"),
            event_type: header("X-Gitlab-Event"),
            type_suffix: None,
        },
        handshake: Handshake::None,
        batch: Batch::One,
        kept: &["X-Gitlab-Event", "X-Gitlab-Instance", "X-Gitlab-Event-UUID", "webhook-id", "webhook-timestamp"],
    },
    // https://docs.gitlab.com/user/project/integrations/webhooks/
    Entry {
        name: "gitlab-token",
        summary: "GitLab with a secret token: X-Gitlab-Token; the body is not signed",
        check: Check::Token(&[TokenPlace { header: "X-Gitlab-Token", prefix: "" }]),
        identity: IdentityRow {
            delivery: header_or("Idempotency-Key", "webhook-id"),
            event_type: header("X-Gitlab-Event"),
            type_suffix: None,
        },
        handshake: Handshake::None,
        batch: Batch::One,
        kept: &["X-Gitlab-Event", "X-Gitlab-Instance", "X-Gitlab-Event-UUID", "Idempotency-Key"],
    },
    // https://shopify.dev/docs/apps/build/webhooks/subscribe/https. The newer Events have no event's id and are to be known by the webhook's.
    Entry {
        name: "shopify",
        summary: "Shopify: X-Shopify-Hmac-Sha256 or shopify-hmac-sha256, HMAC-SHA256 of the body in base64",
        check: Check::Hmac(&[base64_of_body("X-Shopify-Hmac-Sha256"), base64_of_body("shopify-hmac-sha256")]),
        identity: IdentityRow {
            delivery: header_or("X-Shopify-Event-Id", "shopify-webhook-id"),
            event_type: header_or("X-Shopify-Topic", "shopify-topic"),
            type_suffix: None,
        },
        handshake: Handshake::None,
        batch: Batch::One,
        kept: &[
            "X-Shopify-Shop-Domain",
            "X-Shopify-Webhook-Id",
            "X-Shopify-API-Version",
            "X-Shopify-Triggered-At",
            "shopify-shop-domain",
            "shopify-api-version",
            "shopify-triggered-at",
        ],
    },
    // https://docs.slack.dev/authentication/verifying-requests-from-slack
    Entry {
        name: "slack",
        summary: "Slack: X-Slack-Signature, HMAC-SHA256 of version, timestamp and body",
        check: Check::Hmac(&[HmacRow {
            prefix: "v0=",
            signed: "v0:{timestamp}:{body}",
            timestamp: seconds(TimestampPlace::Header("X-Slack-Request-Timestamp")),
            ..hex_of_body("X-Slack-Signature")
        }]),
        identity: IdentityRow {
            delivery: body("/event_id"),
            event_type: body_or("/event/type", "/type"),
            type_suffix: None,
        },
        handshake: Handshake::Slack,
        batch: Batch::One,
        kept: &["X-Slack-Retry-Num", "X-Slack-Retry-Reason"],
    },
    // https://developers.zoom.us/docs/api/webhooks/
    Entry {
        name: "zoom",
        summary: "Zoom: x-zm-signature, HMAC-SHA256 of version, timestamp and body",
        check: Check::Hmac(&[HmacRow {
            prefix: "v0=",
            signed: "v0:{timestamp}:{body}",
            timestamp: seconds(TimestampPlace::Header("x-zm-request-timestamp")),
            ..hex_of_body("x-zm-signature")
        }]),
        identity: IdentityRow { delivery: NOWHERE, event_type: body("/event"), type_suffix: None },
        handshake: Handshake::Zoom,
        batch: Batch::One,
        kept: &[],
    },
    // https://developers.facebook.com/docs/graph-api/webhooks/getting-started
    Entry {
        name: "meta",
        summary: "Meta (Facebook, Instagram, WhatsApp): X-Hub-Signature-256 under the app secret",
        check: Check::Hmac(&[HmacRow { prefix: "sha256=", ..hex_of_body("X-Hub-Signature-256") }]),
        identity: IdentityRow { delivery: NOWHERE, event_type: NOWHERE, type_suffix: None },
        handshake: Handshake::Meta,
        batch: Batch::Meta,
        kept: &[],
    },
    // https://support.atlassian.com/bitbucket-cloud/docs/manage-webhooks/
    Entry {
        name: "bitbucket",
        summary: "Bitbucket Cloud: X-Hub-Signature with SHA-256",
        check: Check::Hmac(&[HmacRow { prefix: "sha256=", ..hex_of_body("X-Hub-Signature") }]),
        identity: IdentityRow {
            delivery: header("X-Request-UUID"),
            event_type: header("X-Event-Key"),
            type_suffix: None,
        },
        handshake: Handshake::None,
        batch: Batch::One,
        kept: &["X-Event-Key", "X-Request-UUID", "X-Hook-UUID", "X-Attempt-Number"],
    },
    // https://developer.atlassian.com/cloud/jira/platform/webhooks/
    Entry {
        name: "jira",
        summary: "Jira Cloud: X-Hub-Signature with SHA-256",
        check: Check::Hmac(&[HmacRow { prefix: "sha256=", ..hex_of_body("X-Hub-Signature") }]),
        identity: IdentityRow {
            delivery: header("X-Atlassian-Webhook-Identifier"),
            event_type: body("/webhookEvent"),
            type_suffix: None,
        },
        handshake: Handshake::None,
        batch: Batch::One,
        kept: &["X-Atlassian-Webhook-Identifier", "X-Atlassian-Webhook-Retry"],
    },
    // https://developers.intercom.com/docs/webhooks/webhook-notifications
    Entry {
        name: "intercom",
        summary: "Intercom: X-Hub-Signature with SHA-1 under the client secret",
        check: Check::Hmac(&[HmacRow {
            prefix: "sha1=",
            algorithm: Algorithm::Sha1,
            ..hex_of_body("X-Hub-Signature")
        }]),
        identity: IdentityRow { delivery: body("/id"), event_type: body("/topic"), type_suffix: None },
        handshake: Handshake::Intercom,
        batch: Batch::One,
        kept: &[],
    },
    // https://developers.intercom.com/docs/canvas-kit
    Entry {
        name: "intercom-canvas",
        summary: "Intercom Canvas Kit: X-Body-Signature, HMAC-SHA256 of the body",
        check: Check::Hmac(&[hex_of_body("X-Body-Signature")]),
        identity: IdentityRow { delivery: NOWHERE, event_type: NOWHERE, type_suffix: None },
        handshake: Handshake::Intercom,
        batch: Batch::One,
        kept: &[],
    },
    // https://core.telegram.org/bots/api#setwebhook
    Entry {
        name: "telegram",
        summary: "Telegram bots: X-Telegram-Bot-Api-Secret-Token; the body is not signed",
        check: Check::Token(&[TokenPlace { header: "X-Telegram-Bot-Api-Secret-Token", prefix: "" }]),
        identity: IdentityRow { delivery: body("/update_id"), event_type: NOWHERE, type_suffix: None },
        handshake: Handshake::None,
        batch: Batch::Member(&["update_id"]),
        kept: &[],
    },
    // https://developers.google.com/workspace/calendar/api/guides/push
    Entry {
        name: "google-channel",
        summary: "Google Calendar and Drive channels: X-Goog-Channel-Token; the body is empty",
        check: Check::Token(&[TokenPlace { header: "X-Goog-Channel-Token", prefix: "" }]),
        identity: IdentityRow {
            delivery: header("X-Goog-Message-Number"),
            event_type: header("X-Goog-Resource-State"),
            type_suffix: None,
        },
        handshake: Handshake::GoogleChannel,
        batch: Batch::GoogleChannel,
        kept: &[
            "X-Goog-Channel-ID",
            "X-Goog-Message-Number",
            "X-Goog-Resource-ID",
            "X-Goog-Resource-State",
            "X-Goog-Resource-URI",
            "X-Goog-Changed",
        ],
    },
    // https://developer.okta.com/docs/concepts/event-hooks/
    Entry {
        name: "okta",
        summary: "Okta event hooks: a shared token, in Authorization unless configured; the body is not signed",
        check: Check::ConfiguredToken(Some("Authorization")),
        identity: IdentityRow {
            delivery: body("/eventId"),
            event_type: body("/data/events/0/eventType"),
            type_suffix: None,
        },
        handshake: Handshake::Okta,
        batch: Batch::Okta,
        kept: &[],
    },
    // https://docs.discord.com/developers/interactions/overview
    Entry {
        name: "discord",
        summary: "Discord interactions and webhook events: X-Signature-Ed25519 of timestamp and body",
        check: Check::Hmac(&[HmacRow {
            public_key: Some(PublicKey::Ed25519),
            secret_encoding: SecretEncoding::Hex,
            signed: "{timestamp}{body}",
            timestamp: unstated(TimestampPlace::Header("X-Signature-Timestamp"), TimestampUnit::Seconds),
            ..hex_of_body("X-Signature-Ed25519")
        }]),
        identity: IdentityRow { delivery: body("/id"), event_type: body("/event/type"), type_suffix: None },
        handshake: Handshake::Discord,
        batch: Batch::Discord,
        kept: &[],
    },
    // https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features
    Entry {
        name: "sendgrid",
        summary: "SendGrid event webhook: ECDSA signature of timestamp and body; many events in a request",
        check: Check::Hmac(&[HmacRow {
            public_key: Some(PublicKey::EcdsaP256),
            secret_encoding: SecretEncoding::Base64,
            encoding: Encoding::Base64,
            signed: "{timestamp}{body}",
            timestamp: unstated(
                TimestampPlace::Header("X-Twilio-Email-Event-Webhook-Timestamp"),
                TimestampUnit::Seconds,
            ),
            ..hex_of_body("X-Twilio-Email-Event-Webhook-Signature")
        }]),
        identity: IdentityRow { delivery: NOWHERE, event_type: NOWHERE, type_suffix: None },
        handshake: Handshake::None,
        batch: Batch::SendGrid,
        kept: &[],
    },
    // https://developer.squareup.com/docs/webhooks/step3validate
    Entry {
        name: "square",
        summary: "Square: HMAC-SHA256 of notification URL and body in base64",
        check: Check::Hmac(&[HmacRow { signed: "{url}{body}", ..base64_of_body("x-square-hmacsha256-signature") }]),
        identity: IdentityRow { delivery: body("/event_id"), event_type: body("/type"), type_suffix: None },
        handshake: Handshake::None,
        batch: Batch::One,
        kept: &[],
    },
    // https://linear.app/developers/webhooks#securing-webhooks
    Entry {
        name: "linear",
        summary: "Linear: Linear-Signature, HMAC-SHA256 of the body; the time is in the body",
        check: Check::Hmac(&[HmacRow {
            timestamp: Some(TimestampRow {
                place: TimestampPlace::Body("/webhookTimestamp"),
                unit: TimestampUnit::Milliseconds,
                tolerance_s: Some(60),
            }),
            ..hex_of_body("Linear-Signature")
        }]),
        identity: IdentityRow {
            delivery: header("Linear-Delivery"),
            event_type: header_or_body("Linear-Event", "/type"),
            type_suffix: Some("/action"),
        },
        handshake: Handshake::None,
        batch: Batch::One,
        kept: &["Linear-Delivery", "Linear-Event"],
    },
    // https://www.typeform.com/developers/webhooks/secure-your-webhooks/
    Entry {
        name: "typeform",
        summary: "Typeform: Typeform-Signature, HMAC-SHA256 of the body in base64",
        check: Check::Hmac(&[HmacRow { prefix: "sha256=", ..base64_of_body("Typeform-Signature") }]),
        identity: IdentityRow { delivery: body("/event_id"), event_type: body("/event_type"), type_suffix: None },
        handshake: Handshake::None,
        batch: Batch::One,
        kept: &[],
    },
    // https://developer.calendly.com/api-docs/ZG9jOjM2MzE2MDM4-webhook-signatures
    Entry {
        name: "calendly",
        summary: "Calendly: Calendly-Webhook-Signature, HMAC-SHA256 of timestamp and body",
        check: Check::Hmac(&[HmacRow {
            separator: Some(','),
            prefix: "v1=",
            signed: "{timestamp}.{body}",
            timestamp: within(180, TimestampPlace::Element("t="), TimestampUnit::Seconds),
            ..hex_of_body("Calendly-Webhook-Signature")
        }]),
        identity: IdentityRow { delivery: NOWHERE, event_type: body("/event"), type_suffix: None },
        handshake: Handshake::None,
        batch: Batch::One,
        kept: &[],
    },
    // Five minutes and not the five seconds of Paddle's SDKs: a cold start and a clock a little off must not cost an event; a replay is known by
    // its id.
    // https://developer.paddle.com/webhooks/signature-verification
    Entry {
        name: "paddle",
        summary: "Paddle: Paddle-Signature, HMAC-SHA256 of timestamp and body",
        check: Check::Hmac(&[HmacRow {
            separator: Some(';'),
            prefix: "h1=",
            signed: "{timestamp}:{body}",
            timestamp: seconds(TimestampPlace::Element("ts=")),
            ..hex_of_body("Paddle-Signature")
        }]),
        identity: IdentityRow { delivery: body("/event_id"), event_type: body("/event_type"), type_suffix: None },
        handshake: Handshake::None,
        batch: Batch::One,
        kept: &[],
    },
    // https://developer.zendesk.com/documentation/webhooks/verifying/
    Entry {
        name: "zendesk",
        summary: "Zendesk: X-Zendesk-Webhook-Signature, HMAC-SHA256 of timestamp and body in base64",
        check: Check::Hmac(&[HmacRow {
            signed: "{timestamp}{body}",
            timestamp: unstated(
                TimestampPlace::Header("X-Zendesk-Webhook-Signature-Timestamp"),
                TimestampUnit::Rfc3339,
            ),
            ..base64_of_body("X-Zendesk-Webhook-Signature")
        }]),
        identity: IdentityRow {
            delivery: header("X-Zendesk-Webhook-Invocation-Id"),
            event_type: body("/type"),
            type_suffix: None,
        },
        handshake: Handshake::None,
        batch: Batch::One,
        kept: &["X-Zendesk-Webhook-Id", "X-Zendesk-Webhook-Invocation-Id", "X-Zendesk-Account-Id"],
    },
    // https://dev.twitch.tv/docs/eventsub/handling-webhook-events/
    Entry {
        name: "twitch",
        summary: "Twitch EventSub: HMAC-SHA256 of message id, timestamp and body",
        check: Check::Hmac(&[HmacRow {
            prefix: "sha256=",
            signed: "{id}{timestamp}{body}",
            id_header: Some("Twitch-Eventsub-Message-Id"),
            timestamp: within(600, TimestampPlace::Header("Twitch-Eventsub-Message-Timestamp"), TimestampUnit::Rfc3339),
            ..hex_of_body("Twitch-Eventsub-Message-Signature")
        }]),
        identity: IdentityRow {
            delivery: header("Twitch-Eventsub-Message-Id"),
            event_type: header_or_body("Twitch-Eventsub-Subscription-Type", "/subscription/type"),
            type_suffix: None,
        },
        handshake: Handshake::Twitch,
        batch: Batch::Twitch,
        kept: &[
            "Twitch-Eventsub-Message-Timestamp",
            "Twitch-Eventsub-Message-Type",
            "Twitch-Eventsub-Message-Retry",
            "Twitch-Eventsub-Subscription-Version",
        ],
    },
    // https://www.dropbox.com/developers/reference/webhooks
    Entry {
        name: "dropbox",
        summary: "Dropbox: X-Dropbox-Signature, HMAC-SHA256 of the body",
        check: Check::Hmac(&[hex_of_body("X-Dropbox-Signature")]),
        identity: IdentityRow { delivery: NOWHERE, event_type: NOWHERE, type_suffix: None },
        handshake: Handshake::Dropbox,
        batch: Batch::Hint,
        kept: &[],
    },
    // https://developers.notion.com/reference/webhooks
    Entry {
        name: "notion",
        summary: "Notion: X-Notion-Signature under the verification token",
        check: Check::Hmac(&[HmacRow { prefix: "sha256=", ..hex_of_body("X-Notion-Signature") }]),
        identity: IdentityRow { delivery: body("/id"), event_type: body("/type"), type_suffix: None },
        handshake: Handshake::Notion,
        batch: Batch::One,
        kept: &[],
    },
    // https://airtable.com/developers/web/api/webhooks-overview
    Entry {
        name: "airtable",
        summary: "Airtable: X-Airtable-Content-MAC under the base64 secret of the webhook",
        check: Check::Hmac(&[HmacRow {
            prefix: "hmac-sha256=",
            secret_encoding: SecretEncoding::Base64,
            ..hex_of_body("X-Airtable-Content-MAC")
        }]),
        identity: IdentityRow { delivery: NOWHERE, event_type: NOWHERE, type_suffix: None },
        handshake: Handshake::None,
        batch: Batch::Hint,
        kept: &[],
    },
    // https://docs.x.com/x-api/webhooks/introduction
    Entry {
        name: "x",
        summary: "X: x-twitter-webhooks-signature under the consumer secret",
        check: Check::Hmac(&[HmacRow { prefix: "sha256=", ..base64_of_body("x-twitter-webhooks-signature") }]),
        identity: IdentityRow {
            delivery: body("/data/event_uuid"),
            event_type: body("/data/event_type"),
            type_suffix: None,
        },
        handshake: Handshake::X,
        batch: Batch::Member(&["for_user_id", "user_has_blocked", "users", "apps", "source", "target", "data"]),
        kept: &[],
    },
    // https://developer.pagerduty.com/docs/webhooks/webhook-signatures/
    Entry {
        name: "pagerduty",
        summary: "PagerDuty: X-PagerDuty-Signature, a list of HMAC-SHA256 of the body",
        check: Check::Hmac(&[HmacRow { separator: Some(','), prefix: "v1=", ..hex_of_body("X-PagerDuty-Signature") }]),
        identity: IdentityRow { delivery: body("/event/id"), event_type: body("/event/event_type"), type_suffix: None },
        handshake: Handshake::None,
        batch: Batch::One,
        kept: &["X-Webhook-Id"],
    },
    // https://developers.line.biz/en/docs/messaging-api/verify-webhook-signature/
    Entry {
        name: "line",
        summary: "LINE: x-line-signature, HMAC-SHA256 of the body in base64",
        check: Check::Hmac(&[base64_of_body("x-line-signature")]),
        identity: IdentityRow { delivery: NOWHERE, event_type: NOWHERE, type_suffix: None },
        handshake: Handshake::Line,
        batch: Batch::Line,
        kept: &[],
    },
    // https://hookdeck.com/docs/receive-webhooks
    Entry {
        name: "hookdeck",
        summary: "Hookdeck: x-hookdeck-signature, HMAC-SHA256 of the body in base64",
        check: Check::Hmac(&[base64_of_body("x-hookdeck-signature")]),
        identity: IdentityRow { delivery: header("x-hookdeck-eventid"), event_type: NOWHERE, type_suffix: None },
        handshake: Handshake::None,
        batch: Batch::One,
        kept: &["x-hookdeck-attempt-count", "x-hookdeck-requestid", "x-hookdeck-source-name"],
    },
    // https://www.twilio.com/docs/usage/webhooks/webhooks-security
    Entry {
        name: "twilio",
        summary: "Twilio: X-Twilio-Signature over the public URL and the form, or the URL and the body's hash",
        check: Check::Code(Code::Twilio),
        identity: IdentityRow {
            delivery: header("I-Twilio-Idempotency-Token"),
            event_type: NOWHERE,
            type_suffix: None,
        },
        handshake: Handshake::None,
        batch: Batch::One,
        kept: &["I-Twilio-Idempotency-Token"],
    },
    // https://developers.hubspot.com/docs/apps/legacy-apps/authentication/validating-requests
    Entry {
        name: "hubspot",
        summary: "HubSpot: X-HubSpot-Signature-v3, or v1 and v2 where it is not sent; up to 100 events in a request",
        check: Check::Code(Code::HubSpot),
        identity: IdentityRow { delivery: NOWHERE, event_type: body("/subscriptionType"), type_suffix: None },
        handshake: Handshake::None,
        batch: Batch::HubSpot,
        kept: &[],
    },
    // https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks
    Entry {
        name: "mailgun",
        summary: "Mailgun: the signature in the body, which does not cover the event",
        check: Check::Code(Code::Mailgun),
        identity: IdentityRow {
            delivery: body_or("/event-data/id", "/signature/token"),
            event_type: body("/event-data/event"),
            type_suffix: None,
        },
        handshake: Handshake::None,
        batch: Batch::One,
        kept: &[],
    },
    // https://learn.microsoft.com/graph/change-notifications-delivery-webhooks
    Entry {
        name: "microsoft-graph",
        summary: "Microsoft Graph: the clientState of each notification; the body is not signed",
        check: Check::Code(Code::Graph),
        identity: IdentityRow { delivery: NOWHERE, event_type: NOWHERE, type_suffix: None },
        handshake: Handshake::Graph,
        batch: Batch::Graph,
        kept: &[],
    },
    // https://developer.salesforce.com/docs/atlas.en-us.api.meta/api/sforce_api_om_outboundmessaging.htm
    Entry {
        name: "salesforce",
        summary: "Salesforce outbound messages: the organization's id in the SOAP body, which is not signed",
        check: Check::Code(Code::Salesforce),
        identity: IdentityRow { delivery: NOWHERE, event_type: NOWHERE, type_suffix: None },
        handshake: Handshake::None,
        batch: Batch::Salesforce,
        kept: &[],
    },
    // https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html
    Entry {
        name: "aws-sns",
        summary: "Amazon SNS over HTTPS: signed with Amazon's certificate, for the topics that the source lists",
        check: Check::Code(Code::Sns),
        identity: IdentityRow { delivery: body("/MessageId"), event_type: body("/Type"), type_suffix: None },
        handshake: Handshake::Sns,
        batch: Batch::One,
        kept: &["x-amz-sns-message-type", "x-amz-sns-message-id", "x-amz-sns-topic-arn"],
    },
    // https://developer.paypal.com/api/rest/webhooks/rest/
    Entry {
        name: "paypal",
        summary: "PayPal: PAYPAL-TRANSMISSION-SIG, signed with PayPal's certificate for a webhook id",
        check: Check::Code(Code::PayPal),
        identity: IdentityRow { delivery: body("/id"), event_type: body("/event_type"), type_suffix: None },
        handshake: Handshake::None,
        batch: Batch::One,
        kept: &["PAYPAL-TRANSMISSION-ID", "PAYPAL-TRANSMISSION-TIME"],
    },
    // https://cloud.google.com/pubsub/docs/authenticate-push-subscriptions
    Entry {
        name: "google-pubsub",
        summary: "Google Pub/Sub push: a JWT of the service account in Authorization; the body is not signed",
        check: Check::Code(Code::PubSub),
        identity: IdentityRow { delivery: body("/message/messageId"), event_type: NOWHERE, type_suffix: None },
        handshake: Handshake::None,
        batch: Batch::One,
        kept: &[],
    },
    Entry {
        name: "hmac",
        summary: "any other HMAC: header, prefix, encoding, hash and what is signed are configured",
        check: Check::Configured,
        identity: IdentityRow { delivery: NOWHERE, event_type: NOWHERE, type_suffix: None },
        handshake: Handshake::None,
        batch: Batch::One,
        kept: &[],
    },
    // For senders that sign nothing
    Entry {
        name: "token",
        summary: "any other shared token: its header is configured; the body is not signed",
        check: Check::ConfiguredToken(None),
        identity: IdentityRow { delivery: NOWHERE, event_type: NOWHERE, type_suffix: None },
        handshake: Handshake::None,
        batch: Batch::One,
        kept: &[],
    },
];
