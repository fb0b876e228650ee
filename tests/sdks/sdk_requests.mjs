// What the libraries for Node sign. Exports nothing; prints one JSON line for each request.
import { createHmac } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const [plan, base, scratch, ...wanted] = process.argv.slice(2);
const secrets = JSON.parse(readFileSync(plan, "utf8"));
const require = createRequire(`${scratch}/`);
const version = (name) => JSON.parse(readFileSync(`${scratch}/node_modules/${name}/package.json`, "utf8")).version;
const now = () => Math.floor(Date.now() / 1000);
const OTHER = { whsec: "whsec_ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=", text: "another-secret-0123456789abcdef" };
let count = 0;
const fresh = (type) => JSON.stringify({ id: `node_${process.pid}_${count++}`, type, note: "Grüße 👋", amount: 10.5 });

// A request is good as it was signed; `check` says by the library itself that it is.
async function post(sdk, scheme, what, expected, { headers, body, query = "" }) {
  const answer = await fetch(`${base}/hooks/${scheme}${query}`, { method: "POST", headers, body });
  await answer.text();
  console.log(JSON.stringify({ sdk, scheme, what, expected, got: answer.status }));
}

// The four cases that every scheme has; `sign(body, { secret, at })` answers with a request. Without `stamped` there is no old one.
async function cases(sdk, scheme, { type, sign, stamped, other = OTHER.text, body = () => fresh(type) }) {
  if (wanted.length > 0 && !wanted.includes(scheme)) return;
  const secret = secrets[scheme].secret;
  const good = await sign(body(), { secret, at: now() });
  await post(sdk, scheme, "good", 200, good);
  const changed = await sign(body(), { secret, at: now() });
  await post(sdk, scheme, "changed body", 401, { ...changed, body: `${changed.body} ` });
  await post(sdk, scheme, "another secret", 401, await sign(body(), { secret: other, at: now() }));
  if (stamped) await post(sdk, scheme, "an hour old", 401, await sign(body(), { secret, at: now() - 3600 }));
}

const json = { "content-type": "application/json" };

{
  const stripe = require("stripe");
  const Stripe = stripe.default ?? stripe;
  const webhooks = Stripe.webhooks ?? new Stripe("sk_test_0").webhooks;
  await cases(`stripe ${version("stripe")}`, "stripe", {
    type: "charge.succeeded",
    stamped: true,
    sign: (body, { secret, at }) => {
      const header = webhooks.generateTestHeaderString({ payload: body, secret, timestamp: at });
      return { headers: { ...json, "stripe-signature": header }, body };
    },
  });
}

{
  const { sign, verify } = await import(`${scratch}/node_modules/@octokit/webhooks-methods/dist-node/index.js`).catch(
    () => import(`${scratch}/node_modules/@octokit/webhooks-methods/dist-bundle/index.js`),
  );
  await cases(`@octokit/webhooks-methods ${version("@octokit/webhooks-methods")}`, "github", {
    type: "push",
    sign: async (body, { secret }) => {
      const signature = await sign(secret, body);
      if (!(await verify(secret, body, signature))) throw new Error("octokit does not verify what it signed");
      const id = `node-${process.pid}-${count++}`;
      return { headers: { ...json, "x-hub-signature-256": signature, "x-github-event": "push", "x-github-delivery": id }, body };
    },
  });
}

const standard = (Webhook, prefix) => (body, { secret, at }) => {
  const id = `msg_node_${process.pid}_${count++}`;
  const signature = new Webhook(secret).sign(id, new Date(at * 1000), body);
  return { headers: { ...json, [`${prefix}-id`]: id, [`${prefix}-timestamp`]: `${at}`, [`${prefix}-signature`]: signature }, body };
};

{
  const { Webhook } = require("standardwebhooks");
  for (const scheme of ["standard-webhooks", "openai", "anthropic", "gitlab"]) {
    await cases(`standardwebhooks ${version("standardwebhooks")}`, scheme, {
      type: "contact.created",
      stamped: true,
      other: OTHER.whsec,
      sign: standard(Webhook, "webhook"),
    });
  }
}

{
  const { Webhook } = require("svix");
  for (const prefix of ["svix", "webhook"]) {
    await cases(`svix ${version("svix")} (${prefix}-*)`, "svix", {
      type: "invoice.paid",
      stamped: true,
      other: OTHER.whsec,
      sign: standard(Webhook, prefix),
    });
  }
}

{
  const { verifySlackRequest } = require("@slack/bolt");
  await cases(`@slack/bolt ${version("@slack/bolt")} (verifies)`, "slack", {
    type: "event_callback",
    stamped: true,
    sign: (body, { secret, at }) => {
      const signature = `v0=${createHmac("sha256", secret).update(`v0:${at}:${body}`).digest("hex")}`;
      const headers = { "x-slack-signature": signature, "x-slack-request-timestamp": at };
      verifySlackRequest({ signingSecret: secret, body, headers, nowMilliseconds: at * 1000 });
      return { headers: { ...json, ...headers, "x-slack-request-timestamp": `${at}` }, body };
    },
  });
}

{
  require("@shopify/shopify-api/adapters/node");
  const { shopifyApi, ApiVersion, LogSeverity } = require("@shopify/shopify-api");
  const older = { "x-shopify-topic": "orders/create", "x-shopify-shop-domain": "example-shop.myshopify.com", "x-shopify-api-version": "2026-07", "x-shopify-webhook-id": "b54557e4-bdd9-4b37-8a5f-bf7d70bcd043" };
  const newer = { "shopify-topic": "Product", "shopify-shop-domain": "example-shop.myshopify.com", "shopify-api-version": "unstable", "shopify-webhook-id": "c3f0a1a2-46a1-4c8e-9d8c-0a4b1f6d7e21", "shopify-handle": "price_sync", "shopify-action": "update" };
  for (const [family, fields, name] of [["X-Shopify-*", older, "x-shopify-hmac-sha256"], ["shopify-*", newer, "shopify-hmac-sha256"]]) {
    await cases(`@shopify/shopify-api ${version("@shopify/shopify-api")} (verifies ${family})`, "shopify", {
      type: "orders/create",
      sign: async (body, { secret }) => {
        const shopify = shopifyApi({
          apiKey: "key", apiSecretKey: secret, hostName: "app.example.com", isEmbeddedApp: false,
          apiVersion: ApiVersion.July26 ?? Object.values(ApiVersion)[0], logger: { level: LogSeverity?.Error ?? 0 },
        });
        const headers = { ...json, ...fields, [name]: createHmac("sha256", secret).update(body).digest("base64") };
        const rawRequest = { headers, method: "POST", url: "/hooks/shopify" };
        const checked = await shopify.webhooks.validate({ rawBody: body, rawRequest, rawResponse: {} });
        if (!checked.valid) throw new Error(`Shopify's library refuses: ${JSON.stringify(checked)}`);
        return { headers, body };
      },
    });
  }
}

{
  const twilio = require("twilio");
  const webhooks = require("twilio/lib/webhooks/webhooks");
  const form = () => {
    const at = count++;
    return new URLSearchParams({ MessageSid: `SM${at}`, From: "+15005550001", To: "+15005550006", Body: "Ahoy 👋 & welcome", NumMedia: "0" }).toString();
  };
  await cases(`twilio ${version("twilio")} (form)`, "twilio", {
    body: form,
    sign: (body, { secret }) => {
      const parameters = Object.fromEntries(new URLSearchParams(body));
      const signature = twilio.getExpectedTwilioSignature
        ? twilio.getExpectedTwilioSignature(secret, `${base}/hooks/twilio`, parameters)
        : webhooks.getExpectedTwilioSignature(secret, `${base}/hooks/twilio`, parameters);
      return { headers: { "content-type": "application/x-www-form-urlencoded", "x-twilio-signature": signature }, body };
    },
  });
  await cases(`twilio ${version("twilio")} (JSON)`, "twilio", {
    type: "com.twilio.error-logs.error.logged",
    sign: (body, { secret }) => {
      const query = `?bodySHA256=${webhooks.getExpectedBodyHash(body)}`;
      const signature = webhooks.getExpectedTwilioSignature(secret, `${base}/hooks/twilio${query}`, {});
      if (!webhooks.validateRequestWithBody(secret, signature, `${base}/hooks/twilio${query}`, body)) {
        throw new Error("Twilio's library refuses what it signed");
      }
      return { headers: { ...json, "x-twilio-signature": signature }, body, query };
    },
  });
}
