//! `webhooks list|create|show|update|delete|pause|resume|test|rotate|deliveries|replay`.

use super::http::Http;
use super::secrets::from_standard_input;
use super::{print_json, table};
use crate::cli::{Global, WebhookReplayArgs, WebhookSetUp, WebhooksArgs, WebhooksCommand};
use crate::failure::Failure;
use crate::out::say;
use reqwest::Method;
use serde_json::{Value, json};

pub(crate) async fn run(global: &Global, args: WebhooksArgs) -> Result<(), Failure> {
    let api = Http::reach(global, &args.api).await?;
    let json = global.json;
    match args.command {
        WebhooksCommand::List => list(&api, json).await,
        WebhooksCommand::Create { url, events, set_up, secret_stdin } => {
            let mut body = set_up_of(&set_up);
            body["url"] = json!(url);
            body["events"] = json!(events);
            if secret_stdin {
                body["secret"] = json!(from_standard_input()?);
            }
            let made = api.ask(Method::POST, "/webhooks", Some(&body)).await?;
            if json {
                print_json(&made);
                return Ok(());
            }
            say!("{}", word(&made["id"]));
            shown_once(&made);
            Ok(())
        }
        WebhooksCommand::Show { id } => show(&api.ask(Method::GET, &of(&id, ""), None).await?, json),
        WebhooksCommand::Update { id, url, events, set_up } => {
            let mut body = set_up_of(&set_up);
            if let Some(url) = url {
                body["url"] = json!(url);
            }
            if !events.is_empty() {
                body["events"] = json!(events);
            }
            show(&api.ask(Method::PATCH, &of(&id, ""), Some(&body)).await?, json)
        }
        WebhooksCommand::Delete { id } => {
            let deleted = api.ask(Method::DELETE, &of(&id, ""), None).await?;
            done(&deleted, json, &format!("{id} is deleted, and its secret with it."))
        }
        WebhooksCommand::Pause { id } => {
            let paused = api.ask(Method::POST, &of(&id, "/pause"), None).await?;
            done(&paused, json, &format!("{id} is paused; what comes is held until it is resumed."))
        }
        WebhooksCommand::Resume { id, discard } => {
            let resumed = api.ask(Method::POST, &of(&id, "/resume"), Some(&json!({"replay": !discard}))).await?;
            let held =
                if discard { "what was held is not delivered" } else { "what was held is delivered within seconds" };
            done(&resumed, json, &format!("{id} is active; {held}."))
        }
        WebhooksCommand::Test { id } => test(&api, &id, json).await,
        WebhooksCommand::Rotate { id, overlap, secret_stdin } => {
            let mut body = json!({"overlap_s": overlap.as_secs()});
            if secret_stdin {
                body["secret"] = json!(from_standard_input()?);
            }
            let rotated = api.ask(Method::POST, &of(&id, "/rotate"), Some(&body)).await?;
            if json {
                print_json(&rotated);
                return Ok(());
            }
            shown_once(&rotated);
            eprintln!("The one before goes on signing until {}.", word(&rotated["previous_until"]));
            Ok(())
        }
        WebhooksCommand::Deliveries { id, status, limit } => {
            let status = status.map(|status| format!("&status={status}")).unwrap_or_default();
            let path = of(&id, &format!("/deliveries?limit={limit}{status}"));
            deliveries(&api.ask(Method::GET, &path, None).await?, json);
            Ok(())
        }
        WebhooksCommand::Replay(args) => replay(&api, &args, json).await,
    }
}

/// An id is put into an address only where it can be none but an id: anything else would be another address.
fn of(id: &str, rest: &str) -> String {
    let id: String = id.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
    format!("/webhooks/{}{rest}", if id.is_empty() { "-" } else { &id })
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

fn set_up_of(set_up: &WebhookSetUp) -> Value {
    let mut body = json!({});
    // An empty text takes what there was away.
    let text = |text: &String| if text.is_empty() { Value::Null } else { json!(text) };
    if let Some(filter) = &set_up.filter {
        body["filter"] = text(filter);
    }
    if let Some(description) = &set_up.description {
        body["description"] = text(description);
    }
    if let Some(time) = set_up.pause_after {
        body["pause_after_s"] = json!(time.as_secs());
    }
    body
}

/// A secret that was made, alone on standard output, for scripts.
fn shown_once(made: &Value) {
    if let Some(secret) = made["secret"].as_str() {
        say!("{secret}");
        eprintln!("Keep the secret: it is not shown again.");
    }
}

fn done(answer: &Value, json: bool, says: &str) -> Result<(), Failure> {
    if json {
        print_json(answer);
    } else {
        say!("{says}");
    }
    Ok(())
}

async fn list(api: &Http, json: bool) -> Result<(), Failure> {
    let (mut all, mut path) = (Vec::new(), "/webhooks?limit=100".to_owned());
    loop {
        let page = api.ask(Method::GET, &path, None).await?;
        all.extend(page["webhooks"].as_array().cloned().unwrap_or_default());
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/webhooks?limit=100&cursor={cursor}");
    }
    if json {
        print_json(&all);
        return Ok(());
    }
    let row = |one: &Value| {
        let events = one["events"].as_array().into_iter().flatten().map(word).collect::<Vec<_>>().join(" ");
        let status = match one["paused"]["reason"].as_str() {
            Some(reason) => format!("paused ({reason})"),
            None => word(&one["status"]).to_owned(),
        };
        vec![word(&one["id"]).to_owned(), status, one["failures"].to_string(), events, word(&one["url"]).to_owned()]
    };
    table::print(&["ID", "STATUS", "FAILURES", "EVENTS", "URL"], &all.iter().map(row).collect::<Vec<_>>());
    Ok(())
}

fn show(one: &Value, json: bool) -> Result<(), Failure> {
    if json {
        print_json(one);
        return Ok(());
    }
    for (name, value) in one.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        // A description holds what somebody typed.
        let clean: String = value.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        say!("{name:<14} {clean}");
    }
    Ok(())
}

async fn test(api: &Http, id: &str, json: bool) -> Result<(), Failure> {
    let delivery = api.ask(Method::POST, &of(id, "/test"), None).await?;
    let is_delivered = delivery["status"] == "delivered";
    if json {
        print_json(&delivery);
    } else {
        let last = delivery["attempts"].as_array().and_then(|attempts| attempts.last()).cloned().unwrap_or_default();
        let (status, ms) = (last["status"].to_string(), last["ms"].to_string());
        match is_delivered {
            true => say!("delivered: status {status} in {ms} ms"),
            false => say!("not delivered: {}", word(&delivery["error"])),
        }
    }
    match word(&delivery["status"]) {
        "delivered" => Ok(()),
        "pending" => Err(Failure::time_over("the endpoint has not answered yet; see `webhooks deliveries`")),
        _ => Err(Failure::said("NOT_DELIVERED")),
    }
}

fn deliveries(page: &Value, json: bool) {
    if json {
        return print_json(page);
    }
    let row = |one: &Value| {
        let attempts = one["attempts"].as_array().cloned().unwrap_or_default();
        let statuses: Vec<String> = attempts
            .iter()
            .map(|attempt| {
                attempt["status"]
                    .as_u64()
                    .map_or_else(|| word(&attempt["code"]).to_owned(), |status| status.to_string())
            })
            .collect();
        vec![
            word(&one["id"]).to_owned(),
            word(&one["event"]).to_owned(),
            word(&one["status"]).to_owned(),
            statuses.join(" "),
            word(&one["created_at"]).to_owned(),
            word(&one["next_attempt_at"]).to_owned(),
        ]
    };
    let rows: Vec<Vec<String>> = page["deliveries"].as_array().into_iter().flatten().map(row).collect();
    table::print(&["ID", "EVENT", "STATUS", "ATTEMPTS", "CREATED", "NEXT"], &rows);
}

async fn replay(api: &Http, args: &WebhookReplayArgs, json: bool) -> Result<(), Failure> {
    let answer = match (&args.delivery, &args.since) {
        (Some(delivery), _) => {
            let delivery: String = delivery.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            api.ask(Method::POST, &of(&args.id, &format!("/deliveries/{delivery}/replay")), None).await?
        }
        (None, since) => {
            let mut body = json!({"since": since, "dry_run": !args.yes, "again": args.again});
            if let Some(until) = &args.until {
                body["until"] = json!(until);
            }
            api.ask(Method::POST, &of(&args.id, "/replay"), Some(&body)).await?
        }
    };
    let events = &answer["events"];
    let more = if answer["more"] == true { ", or more" } else { "" };
    let says = match answer["dry_run"] == true {
        true => format!("{events} events{more}; --yes delivers those that did not arrive"),
        false => format!("{events} events{more} are on their way"),
    };
    done(&answer, json, &says)
}
