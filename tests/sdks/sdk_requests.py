"""What the libraries for Python sign. Prints one JSON line for each request."""

import datetime
import importlib.metadata
import json
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

plan, base, *wanted = sys.argv[1:]
with open(plan, encoding="utf-8") as file:
    secrets = json.load(file)

OTHER_WHSEC = "whsec_ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA="
OTHER_TEXT = "another-secret-0123456789abcdef"
JSON = {"content-type": "application/json"}
count = 0


def name(kind):
    global count
    count += 1
    return f"{kind}_python_{os.getpid()}_{count}"


def fresh(kind):
    return json.dumps({"id": name("evt"), "type": kind, "note": "Grüße 👋", "amount": 10.5}, ensure_ascii=False)


def post(sdk, scheme, what, expected, headers, body):
    request = urllib.request.Request(f"{base}/hooks/{scheme}", data=body.encode(), headers=headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            got = answer.status
    except urllib.error.HTTPError as error:
        got = error.code
    print(json.dumps({"sdk": sdk, "scheme": scheme, "what": what, "expected": expected, "got": got}), flush=True)


def cases(package, scheme, sign, kind="", stamped=False, other=OTHER_TEXT, body=None):
    if wanted and scheme not in wanted:
        return
    sdk = f"{package} {importlib.metadata.version(package)} (Python)"
    secret, make = secrets[scheme]["secret"], body or (lambda: fresh(kind))
    now = int(time.time())
    text = make()
    post(sdk, scheme, "good", 200, sign(text, secret, now), text)
    text = make()
    post(sdk, scheme, "changed body", 401, sign(text, secret, now), text + " ")
    text = make()
    post(sdk, scheme, "another secret", 401, sign(text, other, now), text)
    if stamped:
        text = make()
        post(sdk, scheme, "an hour old", 401, sign(text, secret, now - 3600), text)


def stripe_headers(body, secret, at):
    import stripe

    signature = stripe.WebhookSignature._compute_signature(f"{at}.{body}", secret)
    header = f"t={at},v1={signature}"
    stripe.WebhookSignature.verify_header(body, header, secret, None)
    return {**JSON, "stripe-signature": header}


def slack_headers(body, secret, at):
    from slack_sdk.signature import SignatureVerifier

    signature = SignatureVerifier(secret).generate_signature(timestamp=str(at), body=body)
    return {**JSON, "x-slack-signature": signature, "x-slack-request-timestamp": str(at)}


def standard_headers(module, prefix):
    def sign(body, secret, at):
        webhook = __import__(module).Webhook(secret)
        identifier = name("msg")
        signature = webhook.sign(identifier, datetime.datetime.fromtimestamp(at, tz=datetime.timezone.utc), body)
        return {**JSON, f"{prefix}-id": identifier, f"{prefix}-timestamp": str(at), f"{prefix}-signature": signature}

    return sign


def svix_sign(prefix):
    def sign(body, secret, at):
        from svix.webhooks import Webhook

        identifier = name("msg")
        signature = Webhook(secret).sign(identifier, datetime.datetime.fromtimestamp(at, tz=datetime.timezone.utc), body)
        return {**JSON, f"{prefix}-id": identifier, f"{prefix}-timestamp": str(at), f"{prefix}-signature": signature}

    return sign


class Form(dict):
    """A form as the library reads those of Flask: names, and a list of values for each."""

    def __init__(self, pairs):
        super().__init__(pairs)
        self.pairs = pairs

    def getlist(self, key):
        return [value for other, value in self.pairs if other == key]


def twilio_form():
    # The same name twice: the values count, each once and sorted.
    fields = [("MessageSid", name("SM")), ("From", "+15005550001"), ("Body", "Ahoy 👋 & welcome"), ("Tag", "b"), ("Tag", "a")]
    return urllib.parse.urlencode(fields)


def twilio_headers(body, secret, _):
    from twilio.request_validator import RequestValidator

    fields = Form(urllib.parse.parse_qsl(body, keep_blank_values=True))
    signature = RequestValidator(secret).compute_signature(f"{base}/hooks/twilio", fields)
    return {"content-type": "application/x-www-form-urlencoded", "x-twilio-signature": signature}


cases("stripe", "stripe", stripe_headers, "charge.succeeded", stamped=True)
cases("slack_sdk", "slack", slack_headers, "event_callback", stamped=True)
cases("standardwebhooks", "standard-webhooks", standard_headers("standardwebhooks", "webhook"), "contact.created", True, OTHER_WHSEC)
cases("svix", "svix", svix_sign("svix"), "invoice.paid", True, OTHER_WHSEC)
cases("twilio", "twilio", twilio_headers, body=twilio_form)
