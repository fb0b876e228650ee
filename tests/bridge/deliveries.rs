//! Every provider, end to end: its fixture, signed as the provider signs, becomes the events that it stands for.
//!
//! What anybody can sign is sent by `clawbridge send`. What only the provider can sign is signed here, with keys made for tests, whose public
//! halves the source has been given.

use crate::support::{Bridge, Options, root};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use clawbridge_aws::{Environment, sdk_config};
use clawbridge_events::{Event, Events};
use clawbridge_signatures::Scheme;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::time::{SystemTime, UNIX_EPOCH};

/// One fixture and what it becomes.
pub(crate) struct Row {
    /// `SCHEME/NAME`, below `events/` and without `.json`.
    pub(crate) file: &'static str,
    secret: &'static str,
    /// More arguments of `source add`.
    options: &'static [&'static str],
    /// Signed here instead of by `send`.
    by_hand: Option<fn(&[u8], i64) -> Delivery>,
    /// The headers that are stored, besides `content-type`.
    kept: &'static [&'static str],
    events: &'static [Expected],
}

/// (type, id, body)
type Expected = (&'static str, Id, Part);

/// The delivery id.
#[derive(Clone, Copy)]
enum Id {
    /// The provider's.
    Is(&'static str),
    /// The hash of the event's body, as it is stored.
    OfBody,
    /// The hash of something that is not the body alone.
    Hash,
}

/// What of the delivered body is the event's.
#[derive(Clone, Copy)]
enum Part {
    /// All of it, byte for byte.
    Whole,
    /// All of it as JSON, but for these places, into which the sender writes a proof or a time.
    Except(&'static [&'static str]),
    /// This item, byte for byte.
    Item(&'static str),
    /// This item as JSON, without that member.
    ItemWithout(&'static str, &'static str),
    /// The document with only this item of that list.
    Only(&'static str, usize),
    /// JSON that the bridge makes, with these texts in it.
    Holding(&'static [&'static str]),
}

/// What is posted besides the fixture's own headers.
struct Delivery {
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

const SECRET: &str = "a-test-secret-0123456789";
/// `whsec_` and 32 bytes, as GitLab wants them.
const WHSEC: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
/// Of the authentication scheme Basic, which Okta sends as it is told to.
const OKTA: &str = "Basic b2t0YTphLXRlc3Qtc2VjcmV0";
const BASE64: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
/// Another than the fixture's, so that the fixture as it is proves nothing.
const ORGANIZATION: &str = "00D000000000062EAA";
const TOPIC: &str = "arn:aws:sns:us-west-2:123456789012:MyTopic";
const PAYPAL_WEBHOOK: &str = "8PT597110X687430LKGECATA";
const ACCOUNT: &str = "push@example.iam.gserviceaccount.com";
const AUDIENCE: &str = "https://hooks.example.com/hooks/google-pubsub";
/// The public half of [`P256`].
const P256_SPKI: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE674G2Fhoy1THpdAVuHAYEsLdztrz30D37raAgktead/upaWsWIaZfKDxWG4uXQTxMTCPNpHZ1iZ58PJOtMdKRQ==";
/// Made for this test: PKCS#8.
const P256: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgq7QmQ/VJqjqvdpvonQy2x0YYTzkJnfp+xuUULV/pk/WhRANCAATrvgbYWGjLVMel0BW4cBgSwt3O2vPfQPfutoCCS15p3+6lpaxYhpl8oPFYbi5dBPExMI82kdnWJnnw8k60x0pF";
/// The public half of the Ed25519 key whose seed is 32 times 0x42.
const ED25519_PUBLIC: &str = "2152f8d19b791d24453242e15f2eab6cb7cffa7b6a5ed30097960e069881db12";
const CERTIFICATE: &[&str] = &["--keys-file", "tests/bridge/keys/provider.pem"];
const KEY_SET: &[&str] = &["--audience", AUDIENCE, "--keys-file", "tests/bridge/keys/provider.jwks.json"];
/// Schemes in whose `secrets` nothing is secret: public keys, and who the sender is.
const NOT_SECRET: [&str; 6] = ["discord", "sendgrid", "aws-sns", "paypal", "google-pubsub", "salesforce"];

/// How many sources one bridge is asked for in a moment: names that it has not met cost a budget of 20.
const SOURCES: usize = 18;

const fn row(
    file: &'static str,
    secret: &'static str,
    kept: &'static [&'static str],
    events: &'static [Expected],
) -> Row {
    Row { file, secret, options: &[], by_hand: None, kept, events }
}

const fn by_hand(row: Row, sign: fn(&[u8], i64) -> Delivery) -> Row {
    Row { by_hand: Some(sign), ..row }
}

const fn with(row: Row, options: &'static [&'static str]) -> Row {
    Row { options, ..row }
}

use Id::{Hash, Is, OfBody};
use Part::{Except, Holding, Item, ItemWithout, Only, Whole};

const STANDARD_HEADERS: &[&str] = &["webhook-id", "webhook-timestamp"];
const GITHUB_HEADERS: &[&str] = &["x-github-delivery", "x-github-event", "x-github-hook-id"];

/// A new fixture is a new row.
pub(crate) const ROWS: &[Row] = &[
    row("airtable/ping", BASE64, &[], &[("unknown", Hash, Whole)]),
    row(
        "anthropic/session.status_idled",
        WHSEC,
        STANDARD_HEADERS,
        &[("session.status_idled", Is("event_01ABCdefGHIjklMNOpqrSTUv"), Whole)],
    ),
    with(
        by_hand(
            row(
                "aws-sns/notification",
                TOPIC,
                &["x-amz-sns-message-id", "x-amz-sns-message-type", "x-amz-sns-topic-arn"],
                &[("Notification", Is("22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324"), Except(&["/Signature"]))],
            ),
            sns,
        ),
        CERTIFICATE,
    ),
    row(
        "bitbucket/push",
        SECRET,
        &["x-attempt-number", "x-event-key", "x-hook-uuid", "x-request-uuid"],
        &[("repo:push", Is("f1e2d3c4-0b1a-4c5d-8e9f-0a1b2c3d4e5f"), Whole)],
    ),
    row("byterover/memory.created", SECRET, &[], &[("memory.created", Is("br_evt_01JD2X7Q4N"), Whole)]),
    row("calendly/invitee.created", SECRET, &[], &[("invitee.created", OfBody, Whole)]),
    by_hand(
        row("discord/application_authorized", ED25519_PUBLIC, &[], &[("APPLICATION_AUTHORIZED", OfBody, Whole)]),
        discord,
    ),
    by_hand(
        row(
            "discord/interaction",
            ED25519_PUBLIC,
            &[],
            &[("interaction.application_command", Is("786008729715212338"), Whole)],
        ),
        discord,
    ),
    row("dropbox/accounts", SECRET, &[], &[("unknown", Hash, Whole)]),
    row("github/issues.opened", SECRET, GITHUB_HEADERS, &[("issues.opened", Is("issues-opened"), Whole)]),
    row("github/ping", SECRET, GITHUB_HEADERS, &[("ping", Is("ping"), Whole)]),
    row(
        "github/pull_request.opened",
        SECRET,
        GITHUB_HEADERS,
        &[("pull_request.opened", Is("pull-request-opened"), Whole)],
    ),
    row("github/push", SECRET, GITHUB_HEADERS, &[("push", Is("push"), Whole)]),
    row(
        "gitlab/push",
        WHSEC,
        &["webhook-id", "webhook-timestamp", "x-gitlab-event", "x-gitlab-event-uuid", "x-gitlab-instance"],
        &[("Push Hook", Is("f5e5f430-f57b-4e6e-9fac-d9128cd7232f"), Whole)],
    ),
    row(
        "gitlab-token/tag_push",
        SECRET,
        &["idempotency-key", "x-gitlab-event", "x-gitlab-event-uuid", "x-gitlab-instance"],
        &[("Tag Push Hook", Is("0c8b0d4e-4c6f-4c8e-9a53-9d4a0d2f7b10"), Whole)],
    ),
    row(
        "google-channel/exists",
        SECRET,
        &[
            "x-goog-channel-id",
            "x-goog-message-number",
            "x-goog-resource-id",
            "x-goog-resource-state",
            "x-goog-resource-uri",
        ],
        &[("exists", Is("01234567-89ab-cdef-0123456789ab:10"), Whole)],
    ),
    with(
        by_hand(row("google-pubsub/push", ACCOUNT, &[], &[("unknown", Is("2070443601311540"), Whole)]), pubsub),
        KEY_SET,
    ),
    row(
        "hookdeck/forwarded",
        SECRET,
        &["x-hookdeck-attempt-count", "x-hookdeck-eventid", "x-hookdeck-requestid", "x-hookdeck-source-name"],
        &[("unknown", Is("evt_GVs9GIJYqJXb2DXWjJnpE"), Whole)],
    ),
    row(
        "hubspot/batch",
        SECRET,
        &[],
        &[
            ("contact.propertyChange", Is("101-25-1795197845001-1246965"), Item("/0")),
            ("contact.creation", Is("102-25-1795197845002-1246978"), Item("/1")),
            ("deal.propertyChange", Is("103-25-1795197845003-778899"), Item("/2")),
        ],
    ),
    row(
        "intercom/conversation.user.created",
        SECRET,
        &[],
        &[("conversation.user.created", Is("notif_ccd8a4d0-f965-11e3-a367-c779cae3e1b3"), Whole)],
    ),
    row("intercom-canvas/initialize", SECRET, &[], &[("unknown", OfBody, Whole)]),
    row(
        "jira/issue_updated",
        SECRET,
        &["x-atlassian-webhook-identifier", "x-atlassian-webhook-retry"],
        &[("jira:issue_updated", Is("a1b2c3d4-0000-4000-8000-00000000000a"), Whole)],
    ),
    row("line/message", SECRET, &[], &[("message", Is("01FZ74A0TDDPYRVKNK77XKC3ZR"), Except(&[]))]),
    row(
        "linear/issue.create",
        SECRET,
        &["linear-delivery", "linear-event"],
        &[("Issue.create", Is("234d1a4e-b617-4388-90fe-adc3633d6b72"), Except(&["/webhookTimestamp"]))],
    ),
    row(
        "mailgun/delivered",
        SECRET,
        &[],
        &[("delivered", Is("CPgfbmQMTCKtHW6uIWtuVe"), Except(&["/signature/timestamp", "/signature/signature"]))],
    ),
    row("meta/page.feed", SECRET, &[], &[("page.feed", OfBody, Except(&[]))]),
    row(
        "meta/whatsapp.messages",
        SECRET,
        &[],
        &[(
            "whatsapp_business_account.messages",
            Is("wamid.HBgLMTY1MDU1NTAxMDAVAgASGBQzQTRBNjU5OUFFRTAzODEwMTQ0RgA="),
            Except(&[]),
        )],
    ),
    row(
        "microsoft-graph/messages",
        SECRET,
        &[],
        &[
            ("created", Hash, ItemWithout("/value/0", "clientState")),
            ("updated", Hash, ItemWithout("/value/1", "clientState")),
        ],
    ),
    row(
        "notion/page.content_updated",
        SECRET,
        &[],
        &[("page.content_updated", Is("3c90c3cc-0d44-4b50-8888-8dd257360501"), Whole)],
    ),
    row(
        "okta/two-events",
        OKTA,
        &[],
        &[
            ("user.session.start", Is("b80f9d16-ccb8-11f0-9a3b-000000000001"), Only("/data/events", 0)),
            ("user.account.lock", Is("b80f9d16-ccb8-11f0-9a3b-000000000002"), Only("/data/events", 1)),
        ],
    ),
    row(
        "openai/response.completed",
        WHSEC,
        STANDARD_HEADERS,
        &[("response.completed", Is("wh_685343a1381c819085d44c354e1b330e"), Whole)],
    ),
    row("openclaw/task.completed", SECRET, &[], &[("task.completed", OfBody, Whole)]),
    row("openclaw-token/cron.finished", SECRET, &[], &[("finished", OfBody, Whole)]),
    row("paddle/customer.created", SECRET, &[], &[("customer.created", Is("evt_01h8441jx8x1q971q9ksksqh82"), Whole)]),
    row(
        "pagerduty/incident.triggered",
        SECRET,
        &["x-webhook-id"],
        &[("incident.triggered", Is("01BVP7SXP2MQ5ZDHSO3PBCGZ1V"), Whole)],
    ),
    with(
        by_hand(
            row(
                "paypal/payment.capture.completed",
                PAYPAL_WEBHOOK,
                &["paypal-transmission-id", "paypal-transmission-time"],
                &[("PAYMENT.CAPTURE.COMPLETED", Is("WH-58D329510W468432D-8HN650336L201105X"), Whole)],
            ),
            paypal,
        ),
        CERTIFICATE,
    ),
    row(
        "salesforce/opportunities",
        ORGANIZATION,
        &[],
        &[
            ("Opportunity", Is("04l5f00000AbCd1AAF"), Holding(&["Fifty & more chairs", "Closed Won"])),
            ("Opportunity", Is("04l5f00000AbCd2AAF"), Holding(&["Tables – oak", "Prospecting"])),
        ],
    ),
    by_hand(
        row(
            "sendgrid/batch",
            P256_SPKI,
            &[],
            &[
                ("processed", Is("rbtnWrG1DVDGGGFHFyun0A=="), Item("/0")),
                ("delivered", Is("ZGVsaXZlcmVkLTAtMTIzNDU2Nzg"), Item("/1")),
                ("click", Is("kCAi1KttyQdEKHhdC-nuEA=="), Item("/2")),
            ],
        ),
        sendgrid,
    ),
    row(
        "shopify/orders.create",
        SECRET,
        &[
            "x-shopify-api-version",
            "x-shopify-event-id",
            "x-shopify-shop-domain",
            "x-shopify-topic",
            "x-shopify-triggered-at",
            "x-shopify-webhook-id",
        ],
        &[("orders/create", Is("98880550-7158-44d4-b7cd-2c97c8a091b5"), Whole)],
    ),
    by_hand(
        row(
            "shopify/product.update.event",
            SECRET,
            &[
                "shopify-api-version",
                "shopify-shop-domain",
                "shopify-topic",
                "shopify-triggered-at",
                "shopify-webhook-id",
            ],
            &[("Product", Is("c3f0a1a2-46a1-4c8e-9d8c-0a4b1f6d7e21"), Whole)],
        ),
        shopify_event,
    ),
    row("slack/app_mention", SECRET, &[], &[("app_mention", Is("Ev0LAN670R"), Whole)]),
    row("slack/slash_command", SECRET, &[], &[("unknown", OfBody, Whole)]),
    // Posted to one address, signed for the one that the provider was told.
    with(
        row(
            "square/payment.updated",
            SECRET,
            &[],
            &[("payment.updated", Is("6a8f5f28-54a1-4eb0-a98a-3111513fd4fc"), Whole)],
        ),
        &["--url", "https://hooks.example.com/hooks/square"],
    ),
    row(
        "standard-webhooks/contact.created",
        WHSEC,
        STANDARD_HEADERS,
        &[("contact.created", Is("contact-created"), Whole)],
    ),
    row(
        "stripe/payment_intent.payment_failed",
        SECRET,
        &[],
        &[("payment_intent.payment_failed", Is("evt_1MoS6fLgUG5tbmjcFa11ed00"), Whole)],
    ),
    row(
        "stripe/payment_intent.succeeded",
        SECRET,
        &[],
        &[("payment_intent.succeeded", Is("evt_1MoS6fLgUG5tbmjcXq2nCf0A"), Whole)],
    ),
    row(
        "svix/invoice.paid",
        WHSEC,
        &["svix-id", "svix-timestamp"],
        &[("invoice.paid", Is("msg_2KWPBgLlAfxdpx2AI54pPJ85f4W"), Whole)],
    ),
    row("telegram/message", SECRET, &[], &[("message", Is("10000"), Whole)]),
    row(
        "twilio/error-logged.json-body",
        SECRET,
        &["i-twilio-idempotency-token"],
        &[("unknown", Is("0b6f2f2e-6a5c-4a0b-9d65-1c0f3e9a7d44"), Whole)],
    ),
    row(
        "twilio/sms",
        SECRET,
        &["i-twilio-idempotency-token"],
        &[("unknown", Is("5d0c9a2c-7f0d-4b64-8f2a-6a2b0c1d9e3f"), Whole)],
    ),
    row(
        "twitch/channel.follow",
        SECRET,
        &[
            "twitch-eventsub-message-id",
            "twitch-eventsub-message-retry",
            "twitch-eventsub-message-timestamp",
            "twitch-eventsub-message-type",
            "twitch-eventsub-subscription-type",
            "twitch-eventsub-subscription-version",
        ],
        &[("channel.follow", Is("e76c6bd4-55c9-4987-8304-da1588d8988b"), Whole)],
    ),
    row("typeform/form_response", SECRET, &[], &[("form_response", Is("LtWXD3crgy"), Whole)]),
    row("x/post.create", SECRET, &[], &[("post.create", Is("2080761390344937796"), Whole)]),
    row(
        "zendesk/user.active_changed",
        SECRET,
        &["x-zendesk-account-id", "x-zendesk-webhook-id", "x-zendesk-webhook-invocation-id"],
        &[("zen:event-type:user.active_changed", Is("01HNBQ5QZ6V7X8Y9Z0A1B2C3D4"), Whole)],
    ),
    row("zoom/meeting.started", SECRET, &[], &[("meeting.started", OfBody, Whole)]),
];

impl Row {
    pub(crate) fn scheme(&self) -> &'static str {
        self.file.split_once('/').map_or("", |(folder, _)| folder)
    }

    /// A source of the fixture's own, so that what it holds is the fixture's.
    fn source(&self) -> String {
        self.file.replace(['/', '.', '_'], "-")
    }

    fn fixture(&self) -> Value {
        let path = root().join(format!("events/{}.json", self.file));
        let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", self.file));
        serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", self.file))
    }
}

/// The body as `send` sends it, but for a proof in it.
fn body(fixture: &Value) -> Vec<u8> {
    fixture["text"].as_str().map_or_else(|| fixture["body"].to_string(), str::to_owned).into_bytes()
}

fn headers(fixture: &Value) -> Vec<(&str, &str)> {
    let fields = fixture["headers"].as_object().into_iter().flatten();
    fields.map(|(name, value)| (name.as_str(), value.as_str().unwrap_or_default())).collect()
}

#[tokio::test]
async fn every_providers_delivery_is_accepted_under_the_providers_id_and_type() {
    for rows in ROWS.chunks(SOURCES) {
        let bridge = Bridge::start("").await;
        for row in rows {
            deliver(&bridge, row).await;
        }
        bridge.lines("event.stored", rows.iter().map(|row| row.events.len()).sum()).await;
        let events = events(&bridge);
        for row in rows {
            check(&bridge, &events, row).await;
        }
    }
}

async fn deliver(bridge: &Bridge, row: &Row) {
    let (source, fixture) = (row.source(), row.fixture());
    let add = ["source", "add", &source, "--scheme", row.scheme(), "--secret", row.secret];
    let added = bridge.run(&[&add, row.options].concat());
    assert_eq!(added.status, 0, "{}: {added:?}", row.file);
    // As it lies there it has no proof.
    let unproven = bridge.post(&source, &headers(&fixture), &body(&fixture)).await;
    assert_eq!((unproven.0, &unproven.1["error"]["code"]), (401, &json!("UNVERIFIED")), "{}", row.file);
    let signs_body = Scheme::parse(row.scheme()).expect("a scheme").signs_body();
    let Some(sign) = row.by_hand else {
        let file = format!("events/{}.json", row.file);
        let tampered = bridge.run(&["send", &file, "--source", &source, "--tamper", "--json"]);
        let code = if signs_body { "NOT_ACCEPTED" } else { "BODY_NOT_SIGNED" };
        assert_eq!((tampered.status, tampered.error_code().as_str()), (1, code), "{}: {tampered:?}", row.file);
        assert_eq!(signs_body, tampered.out.contains("UNVERIFIED"), "{}: {tampered:?}", row.file);
        let sent = bridge.run(&["send", &format!("events/{}.json", row.file), "--source", &source, "--json"]);
        assert_eq!(sent.status, 0, "{}: {sent:?}", row.file);
        let ids = sent.json()["delivery_ids"].clone();
        assert_eq!(ids.as_array().map(Vec::len), Some(row.events.len()), "{}: {ids}", row.file);
        return;
    };
    let delivery = sign(&body(&fixture), now());
    let mut headers = headers(&fixture);
    headers.retain(|(name, _)| !delivery.headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name)));
    headers.extend(delivery.headers.iter().map(|(name, value)| (*name, value.as_str())));
    let path = format!("/hooks/{source}");
    // SNS signs members and no bytes.
    if signs_body && row.scheme() != "aws-sns" {
        let changed = [&delivery.body[..], b" "].concat();
        let got = bridge.request("POST", &path, &headers, &changed).await;
        assert_eq!((got.status, &got.body["error"]["code"]), (401, &json!("UNVERIFIED")), "{}: {got:?}", row.file);
    }
    let got = bridge.request("POST", &path, &headers, &delivery.body).await;
    assert!((200..300).contains(&got.status), "{}: {got:?}", row.file);
    if row.scheme() != "shopify" {
        // Nobody else has the key.
        let sent = bridge.run(&["send", &format!("events/{}.json", row.file), "--source", &source, "--json"]);
        assert_eq!((sent.status, sent.error_code().as_str()), (1, "NOT_SIGNABLE"), "{}: {sent:?}", row.file);
    }
}

fn events(bridge: &Bridge) -> Events {
    let config = sdk_config(&Environment::local(&bridge.private)).expect("a configuration");
    Events::new(aws_sdk_dynamodb::Client::new(&config), "clawbridge-events".to_owned())
}

#[tokio::test]
async fn what_is_sent_is_signed_for_the_address_that_providers_were_told() {
    let args = vec!["--public-url".to_owned(), "https://hooks.example.com/".to_owned()];
    let bridge = Bridge::start_with(Options { config: Some(String::new()), args }).await;
    assert_eq!(bridge.run(&["source", "add", "twilio", "--secret", SECRET]).status, 0);
    for fixture in ["events/twilio/sms.json", "events/twilio/error-logged.json-body.json"] {
        let sent = bridge.run(&["send", fixture]);
        assert_eq!(sent.status, 0, "{fixture}: {sent:?}");
    }
    // Where it is sent to is then what it is signed for.
    let sent = bridge.run(&["send", "events/twilio/sms.json", "--url", &bridge.public, "--json"]);
    assert_eq!((sent.status, sent.error_code().as_str()), (1, "NOT_ACCEPTED"), "{sent:?}");
}

/// Every scheme that has a form of its own has a fixture.
#[test]
fn every_provider_has_a_row() {
    let configured = ["hmac", "token"];
    for scheme in Scheme::all().map(Scheme::name).filter(|name| !configured.contains(name)) {
        assert!(ROWS.iter().any(|row| row.scheme() == scheme), "{scheme} has no row");
    }
}

/// The stored events of a row's source are those that it says.
async fn check(bridge: &Bridge, events: &Events, row: &Row) {
    let (source, fixture) = (row.source(), row.fixture());
    let lines = bridge.journal();
    let lines = lines.iter().filter(|line| line["kind"] == "event.stored" && line["source"] == source.as_str());
    let mut stored = Vec::new();
    for line in lines {
        let id = line["event"].as_str().expect("an event");
        stored.push(events.get(id).await.expect("the table").unwrap_or_else(|| panic!("{}: no {id}", row.file)));
    }
    assert_eq!(stored.len(), row.events.len(), "{}: {stored:?}", row.file);
    for &(event_type, id, part) in row.events {
        let is_it = |event: &&Event| {
            event.r#type == event_type
                && match id {
                    Is(id) => event.delivery_id == id,
                    OfBody => event.delivery_id == hash(&event.body),
                    // Two of a kind are told apart by their bodies.
                    Hash => event.delivery_id.starts_with("sha256:") && event.delivery_id.len() == 71,
                }
        };
        let found = stored.iter().find(is_it);
        let event = found.unwrap_or_else(|| panic!("{}: no {event_type} as it should be in {stored:?}", row.file));
        check_body(row, part, &body(&fixture), &event.body);
        let mut kept: Vec<&str> = event.headers.iter().map(|(name, _)| name.as_str()).collect();
        kept.retain(|name| *name != "content-type");
        kept.sort_unstable();
        assert_eq!(kept, row.kept, "{}", row.file);
        if !NOT_SECRET.contains(&row.scheme()) {
            let text = format!("{:?} {}", event.headers, String::from_utf8_lossy(&event.body));
            assert!(!text.contains(row.secret), "{}: {text}", row.file);
        }
    }
}

fn check_body(row: &Row, part: Part, sent: &[u8], stored: &[u8]) {
    let parsed = |bytes: &[u8]| -> Value {
        serde_json::from_slice(bytes).unwrap_or_else(|error| panic!("{}: {error}", row.file))
    };
    let item = |pointer: &str| parsed(sent).pointer(pointer).cloned().unwrap_or_else(|| panic!("{}", row.file));
    match part {
        Whole => assert!(stored == sent, "{}: {}", row.file, String::from_utf8_lossy(stored)),
        Item(pointer) => assert_eq!(String::from_utf8_lossy(stored), item(pointer).to_string(), "{}", row.file),
        Except(places) => {
            let (mut stored, mut sent) = (parsed(stored), parsed(sent));
            for value in [&mut stored, &mut sent] {
                for place in places {
                    *value.pointer_mut(place).unwrap_or_else(|| panic!("{}: {place}", row.file)) = Value::Null;
                }
            }
            assert_eq!(stored, sent, "{}", row.file);
        }
        ItemWithout(pointer, member) => {
            let mut item = item(pointer);
            assert!(item.as_object_mut().is_some_and(|item| item.remove(member).is_some()), "{}", row.file);
            assert_eq!(parsed(stored), item, "{}", row.file);
        }
        Only(list, index) => {
            let mut document = parsed(sent);
            let items = document.pointer_mut(list).and_then(Value::as_array_mut).expect("a list");
            *items = vec![items.swap_remove(index)];
            assert_eq!(parsed(stored), document, "{}", row.file);
        }
        Holding(texts) => {
            let text = parsed(stored).to_string();
            assert!(texts.iter().all(|part| text.contains(part)), "{}: {text}", row.file);
            assert!(!text.contains("EXAMPLE.SESSION") && !text.contains("SessionId"), "{}: {text}", row.file);
        }
    }
}

fn hash(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    i64::try_from(since.as_secs()).expect("a time")
}

/// <https://docs.discord.com/developers/interactions/overview#validating-security-request-headers>
fn discord(body: &[u8], now: i64) -> Delivery {
    let key = Ed25519KeyPair::from_seed_unchecked(&[0x42; 32]).expect("a key");
    let signature = key.sign(&[now.to_string().as_bytes(), body].concat());
    let headers =
        vec![("x-signature-ed25519", hex::encode(signature.as_ref())), ("x-signature-timestamp", now.to_string())];
    Delivery { headers, body: body.to_vec() }
}

/// <https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features>
fn sendgrid(body: &[u8], now: i64) -> Delivery {
    let (key, random) = (STANDARD.decode(P256).expect("base64"), SystemRandom::new());
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &key, &random).expect("a key");
    let signature = key.sign(&random, &[now.to_string().as_bytes(), body].concat()).expect("a signature");
    let headers = vec![
        ("x-twilio-email-event-webhook-signature", STANDARD.encode(signature.as_ref())),
        ("x-twilio-email-event-webhook-timestamp", now.to_string()),
    ];
    Delivery { headers, body: body.to_vec() }
}

/// RSA PKCS#1 v1.5 with SHA-256, with the key of which the schemes' own tests have the certificate.
fn rsa(message: &[u8]) -> Vec<u8> {
    let key = std::fs::read(root().join("tests/bridge/keys/provider.pk8")).expect("provider.pk8");
    let key = RsaKeyPair::from_pkcs8(&key).expect("a key");
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).expect("a signature");
    signature
}

/// <https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html>
fn sns(body: &[u8], _: i64) -> Delivery {
    let mut message: Value = serde_json::from_slice(body).expect("JSON");
    let signed = ["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"]
        .map(|name| format!("{name}\n{}\n", message[name].as_str().expect(name)));
    message["Signature"] = json!(STANDARD.encode(rsa(signed.concat().as_bytes())));
    Delivery { headers: Vec::new(), body: message.to_string().into_bytes() }
}

/// <https://developer.paypal.com/api/rest/webhooks/rest/#verify-webhook-signature>
fn paypal(body: &[u8], _: i64) -> Delivery {
    let (id, time) = ("db49fb10-1343-11ef-ac58-e32457403f67", "2026-11-20T18:04:06Z");
    let signature = rsa(format!("{id}|{time}|{PAYPAL_WEBHOOK}|{}", crc32(body)).as_bytes());
    let headers = vec![
        ("paypal-transmission-id", id.to_owned()),
        ("paypal-transmission-time", time.to_owned()),
        ("paypal-transmission-sig", STANDARD.encode(signature)),
        ("paypal-cert-url", "https://api.paypal.com/v1/notifications/certs/CERT-360caa42-fca2a594-ab66f33d".to_owned()),
        ("paypal-auth-algo", "SHA256withRSA".to_owned()),
    ];
    Delivery { headers, body: body.to_vec() }
}

/// ISO 3309, as in gzip.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    })
}

/// <https://cloud.google.com/pubsub/docs/authenticate-push-subscriptions>
fn pubsub(body: &[u8], now: i64) -> Delivery {
    let header = json!({"alg": "RS256", "kid": "test-1", "typ": "JWT"});
    let claims = json!({
        "iss": "https://accounts.google.com", "aud": AUDIENCE, "email": ACCOUNT, "email_verified": true,
        "sub": "113774264463038321964", "azp": "113774264463038321964", "iat": now - 60, "exp": now + 3540,
    });
    let signed = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
    let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(rsa(signed.as_bytes())));
    Delivery { headers: vec![("authorization", format!("Bearer {token}"))], body: body.to_vec() }
}

/// The newer family of Shopify's headers: the same signature under another name. `send` sends the older one.
fn shopify_event(body: &[u8], _: i64) -> Delivery {
    let signature = STANDARD.encode(crate::support::hmac_sha256(SECRET.as_bytes(), body));
    Delivery { headers: vec![("shopify-hmac-sha256", signature)], body: body.to_vec() }
}

#[test]
fn the_checksum_is_that_of_its_standard() {
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
}
